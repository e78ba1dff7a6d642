"""What the git repository around a folder says."""

from __future__ import annotations

import subprocess
from pathlib import Path

_PATIENCE = 60  # seconds; on a file system that is gone git waits for ever


def git(*arguments: str, folder: Path = Path()) -> str | None:
    """Return what a git command prints in a folder (this one by default), None when it fails.

    It fails where there is no git, no repository, nothing of that name, or text that is not UTF-8. All of these mean
    that git has no answer here, which is no reason to stop. What comes from a user must not begin with a dash.
    """
    try:
        return subprocess.run(  # noqa: S603 - words that callers have checked
            ["git", *arguments],  # noqa: S607 - whichever git this machine has
            cwd=folder, capture_output=True, encoding="utf-8", check=True, stdin=subprocess.DEVNULL, timeout=_PATIENCE,
        ).stdout  # fmt: skip
    except (OSError, UnicodeDecodeError, subprocess.SubprocessError):
        return None
