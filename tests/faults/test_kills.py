"""kill -9 on `mobilebench train`, at random moments: nothing lost, nothing doubled, the same weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CHAOS = Path(__file__).parents[2] / "benchmarks/chaos.py"


def test_a_grid_killed_at_random_ends_as_one_never_killed() -> None:
    command = [sys.executable, str(CHAOS), "--kills", "2", "--epochs", "2", "--model", "shufflenet"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    found = json.loads(next(line for line in answer.stdout.splitlines() if line.startswith("{")))
    assert found["kills"] == 2
    assert (found["lost"], found["doubled"], found["changed"]) == (0, 0, 0)
