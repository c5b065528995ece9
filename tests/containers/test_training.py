"""The image that trains, run as the pods of a JobSet run it: by the manifest's own container."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from experiments.clusters import kubernetes
from experiments.clusters.interface import Job
from tests.containers.podman import Podman
from tests.smoothing import BARE

CONFIG = BARE + "steps = 20\n"
USER = 10001


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """The volume of a job: a config and its cases, the image's user's own."""
    folder = tmp_path / "claim"
    folder.mkdir()
    a = np.random.default_rng(0).standard_normal((40, 24))
    np.savez(folder / "train.npz", a=a, u=np.roll(a, 1, axis=1))
    (folder / "smoothing.toml").write_text(CONFIG)
    for path in (folder, *folder.iterdir()):
        os.chown(path, USER, USER)
    for parent in folder.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    return folder


def test_a_pod_of_a_jobset_trains(engine: Podman, training: str, claim: Path) -> None:
    command = ["python", "-m", "experiments.launch", "smoothing.toml", "--processes", "1", "--run", "run"]
    job = Job(name="smoothing", command=command, folder="run", workdir="/work", image=training, claim="work")
    jobset = json.loads(kubernetes.script(job))
    [container] = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]} | {"JOB_COMPLETION_INDEX": "0"}
    address = variables["JAX_COORDINATOR_ADDRESS"].partition(":")[0]
    words = [f"--env={name}={value}" for name, value in variables.items()]
    words += [f"--add-host={address}:127.0.0.1", "--network=host", "--read-only", "--tmpfs=/tmp", "--cap-drop=all"]
    words += [f"--workdir={container['workingDir']}", f"--volume={claim}:{container['volumeMounts'][0]['mountPath']}"]
    entry, *rest = container["command"]  # a pod's command takes the place of the entry point
    engine("run", "--rm", "--pull=never", *words, f"--entrypoint={entry}", training, *rest)
    assert (claim / "run/model.safetensors").is_file()


def test_its_entry_point_is_the_launcher(engine: Podman, training: str) -> None:
    said = engine("run", "--rm", "--pull=never", "--network=none", "--read-only", "--tmpfs=/tmp", training, "--help")
    assert "python -m experiments.launch" in said
