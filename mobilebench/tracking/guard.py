"""Run a command that ends with the process that asked for it: `python -I guard.py COMMAND ...`.

Standard input is a pipe from that process. It closes when the process ends, killed or not, and the command with all
that it started is then ended too. Nothing but the standard library is imported: this process stays small.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

_GRACE = 10.0  # seconds to end in


def main(command: list[str]) -> int:
    """Run the command in this process's group, and return its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the words of our own program
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return child.wait()


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1 << 10):
        pass
    os.killpg(os.getpgrp(), signal.SIGTERM)
    time.sleep(_GRACE)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
