"""The pods of a JobSet on a real kubelet: two of them train together, as one process would.

Kubernetes 1.20 has neither JobSets nor Jobs with an index, nor is there a name service here. So the test makes of the
JobSet's own template the pods that its controller would make, and tells them the first one's name.
"""

import copy
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from tests.kubernetes.conftest import FIGURES
from tests.kubernetes.node import Node
from tests.kubernetes.plane import Cluster
from tests.processes import until
from tests.smoothing import BARE

CONFIG = BARE + "steps = 20\n"
USER, NODES = 10001, 2
IMAGE = "localhost/pnol:train"


def test_two_pods_train_together(cluster: Cluster, worker: Node, claims: Path, tmp_path: Path) -> None:
    work = claims / "work"
    a = np.random.default_rng(0).standard_normal((40, 24))
    np.savez(work / "train.npz", a=a, u=np.roll(a, 1, axis=1))
    (work / "smoothing.toml").write_text(CONFIG)
    for path in (work, *work.iterdir()):
        os.chown(path, USER, USER)
    began = time.monotonic()
    jobset = manifest(work)
    pods = [pod(jobset, 0, "127.0.0.1")]
    cluster.apply(pods[0])
    first = pods[0]["metadata"]["name"]
    address = until(
        lambda: cluster.get("pod", first)["status"].get("podIP"), "the first pod has an address", seconds=180
    )
    pods.append(pod(jobset, 1, address))
    cluster.apply(pods[1])
    for each in pods:
        name = each["metadata"]["name"]
        until(lambda name=name: phase(cluster, name) not in ("Pending", "Running"), f"{name} has ended", seconds=180)
        assert phase(cluster, name) == "Succeeded", cluster("logs", name)
    FIGURES.append(f"two pods that trained together: {time.monotonic() - began:.1f} s")
    alone = alone_from(work, tmp_path)
    together = load_file(work / "run/model.safetensors")
    assert together.keys() == alone.keys()
    assert max(np.abs(together[name] - alone[name]).max() for name in alone) < 1e-5


def manifest(work: Path) -> dict[str, Any]:
    """The JobSet that `experiments.submit` would hand in."""
    words = ["smoothing.toml", "--cluster", "kubernetes", "--nodes", str(NODES), "--image", IMAGE, "--claim", "work"]
    words += ["--run", "run", "--dry-run", "--", "--", "--no-report"]
    command = [sys.executable, "-m", "experiments.submit", *words]
    done = subprocess.run(command, cwd=work, check=True, stdout=subprocess.PIPE, text=True, timeout=120)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pod(jobset: dict[str, Any], index: int, coordinator: str) -> dict[str, Any]:
    """What the controllers of JobSet and Job make of it."""
    name = jobset["metadata"]["name"]
    spec = copy.deepcopy(jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"])
    [container] = spec["containers"]
    container["env"].append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
    container["imagePullPolicy"] = "Never"
    [address] = [each["value"] for each in container["env"] if each["name"] == "JAX_COORDINATOR_ADDRESS"]
    host = f"{name}-nodes-0-{index}"
    named = {"hostname": host, "subdomain": name, "automountServiceAccountToken": False}
    aliases = [{"ip": coordinator, "hostnames": [address.partition(":")[0]]}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": host, "namespace": "default"},
        "spec": {**spec, **named, "hostAliases": aliases},
    }


def phase(cluster: Cluster, name: str) -> str:
    """Of a pod's life."""
    return str(cluster.get("pod", name)["status"]["phase"])


def alone_from(work: Path, folder: Path) -> dict[str, Any]:
    """The parameters of the same training in one process of this machine."""
    for name in ("train.npz", "smoothing.toml"):
        (folder / name).write_bytes((work / name).read_bytes())
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "experiments.train", "smoothing.toml", "--run", "run", "--no-report"]
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=300)
    return load_file(folder / "run/model.safetensors")
