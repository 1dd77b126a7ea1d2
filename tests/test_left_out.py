"""A machine without a browser tests the rest, and its last line says what it left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HOUSE = Path(__file__).parent.parent


def test_without_chromium_its_tests_are_left_out_and_the_last_line_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "tests/explaining/test_play.py"],
        cwd=HOUSE,
        env={**os.environ, "CHROMIUM": "/nowhere/chromium"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_hostile_names_stay_text" not in done.stdout
    assert "test_too_wide_a_vocabulary" in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.startswith("left out: all tests marked browser, for want of /nowhere/chromium")
