"""A cluster for the whole run, in namespaces of its own: `make test-kubernetes`."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import heat
from tests.kubernetes import programs
from tests.kubernetes.fleet import Fleet
from tests.kubernetes.node import Node, node
from tests.kubernetes.plane import Cluster, control_plane

FIGURES: list[str] = []  # what was measured, printed at the end
PREPARED = "PNOL_KUBERNETES"  # the folder of `prepare`


@pytest.fixture(scope="session")
def prepared() -> Path:
    """What was built before; only in namespaces of their own, as a kubelet changes what all else sees."""
    if PREPARED not in os.environ:
        pytest.skip("runs in namespaces of its own: make test-kubernetes")
    return Path(os.environ[PREPARED])


@pytest.fixture(scope="session")
def cluster(prepared: Path, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A control plane; its logs stay where something fails."""
    folder = Path(tempfile.mkdtemp(prefix="k8s-"))
    with control_plane(folder, prepared / programs.VERSION) as started:
        yield started
    if request.session.testsfailed:
        FIGURES.append(f"logs: {folder}")
    else:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def worker(cluster: Cluster, prepared: Path) -> Iterator[Node]:
    """Its one node, with the images of this checkout."""
    with node(cluster, prepared / programs.VERSION, prepared / "images") as started:
        yield started


@pytest.fixture(scope="session")
def claims(cluster: Cluster, worker: Node) -> Path:
    """A folder; each of its own is a volume, and a claim on it, of that name."""
    folder = cluster.folder / "claims"
    for name in ("models", "work"):
        (folder / name).mkdir(parents=True)
        for manifest in _volume(name, folder / name):
            cluster.apply(manifest)
    return folder


def _volume(name: str, folder: Path) -> list[dict[str, Any]]:
    size, modes = {"storage": "1Gi"}, ["ReadWriteMany"]
    spec = {"capacity": size, "accessModes": modes, "storageClassName": "", "hostPath": {"path": str(folder)}}
    claim = {"accessModes": modes, "storageClassName": "", "volumeName": name, "resources": {"requests": size}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": claim},
    ]


@pytest.fixture(scope="session")
def fleet(cluster: Cluster, claims: Path, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A fleet of one pod, which is ready."""
    heat.write(claims / "models")
    for path in (claims / "models").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    started = Fleet(cluster, tmp_path_factory.mktemp("fleet") / "manifests")
    started.write()
    started.apply()
    FIGURES.append(f"manifests applied to a pod that is ready: {started.until_pods(1):.1f} s")
    return started


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Times of this run."""
    for figure in FIGURES:
        terminalreporter.write_line(figure)
