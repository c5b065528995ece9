"""Calibration, detector and scores of a small problem on meshes, in a process of its own with two simulated devices.

`python tests/calibrated.py FOLDER` prints a JSON object for one device and for each mesh.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.devices import flags

os.environ["XLA_FLAGS"] = flags(2)

import jax
import numpy as np

from experiments.calibrate import calibrate
from experiments.model import CALIBRATION, OOD, Model
from experiments.scoring import scored
from experiments.strangeness import fit_detector
from pnol_jax.config import MeshConfig
from pnol_jax.sharding.mesh import make_mesh, use
from pnol_jax.sharding.placement import WHOLE, on_host, placed
from tests import smoothing

MORE = """
[posterior]
name = "ensemble"
members = 2
[ood]
false_alarm = 0.1
[[risk]]
name = "high"
statistic = "share"
threshold = 0.2
[calibration]
level = 0.7
steps = [{ name = "regions", cells = [3] }, { name = "groups", groups = 2, share = 2 }]
"""


def found(path: Path) -> dict[str, Any]:
    """Arrays of calibrator and detector, and figures of the test cases."""
    experiment = smoothing.opened(path)
    params = smoothing.untrained(experiment)
    calibrator, detector = calibrate(experiment, params), fit_detector(experiment, params)
    assert calibrator is not None
    assert detector is not None
    (arrays, guarantee), (strange, alarm) = calibrator.to_dict(), detector.to_dict()
    beside = {CALIBRATION + name: value for name, value in arrays.items()}
    beside |= {OOD + name: value for name, value in strange.items()}
    beside = placed(beside, dict.fromkeys(beside, WHOLE))
    model = Model(experiment.posterior, params | beside, guarantee, alarm)
    return {"arrays": on_host(beside), "figures": scored(experiment, model, experiment.test[0])}


def main() -> None:
    """Print what each mesh finds."""
    path = smoothing.write_config(Path(sys.argv[1]), MORE)
    for mesh, devices in ((MeshConfig(), 1), (MeshConfig(data=2), 2), (MeshConfig(data=1, space=2), 2)):
        with use(make_mesh(mesh, jax.devices()[:devices])):
            print(json.dumps(jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), found(path))), flush=True)


if __name__ == "__main__":
    main()
