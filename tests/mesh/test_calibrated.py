"""A mesh changes where calibration, detector and scores are computed, and not what."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

ROOT = Path(__file__).parents[2]


def test_a_mesh_changes_no_calibrator_no_detector_and_no_figure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.calibrated", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    expected, *found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 2
    for answer in found:
        for path, value in jax.tree_util.tree_leaves_with_path(expected, is_leaf=lambda x: isinstance(x, list)):
            got = answer
            for key in path:
                got = got[key.key]
            scale = float(np.nanmax(np.abs(np.asarray(value, float)), initial=1e-6))
            np.testing.assert_allclose(got, value, rtol=0, atol=2e-3 * scale, err_msg=str(path))
