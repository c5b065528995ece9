"""A data set that is larger than the memory it may take: its digests, its statistics, training and calibration."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_a_set_left_on_the_disk_is_never_in_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.larger_than_memory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["set"] > 300e6
    assert found["more"] < found["set"] / 2, found  # where it comes into memory, twice its size
