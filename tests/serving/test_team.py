"""Workers are of one mind: figures of all, versions and labels in all, also in one that was started again."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests import heat
from tests.processes import until
from tests.serving.conftest import Server, running

FIELD = heat.wave(heat.grid(12), 1)[0].tolist()
FLAGS = [
    "--workers",
    "2",
    "--batch-sizes",
    "[1]",
    "--repository-control",
    "true",
    "--poll-seconds",
    "0",
    "--stall-seconds",
    "600",
]
Key = tuple[str, str]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Server]:
    for version in ("1", "2"):
        heat.write(tmp_path / "models", "line", version, axes=1, signature=heat.signature(1, ["moments"]))
    with running(tmp_path / "models", tmp_path / "errors", *FLAGS) as server:
        yield server


def workers(server: Server) -> list[psutil.Process]:
    return sorted(psutil.Process(server.process.pid).children(), key=lambda child: child.pid)


@contextlib.contextmanager
def only(server: Server, worker: psutil.Process) -> Iterator[None]:
    """Whatever is asked meanwhile is answered by this one."""
    others = [other for other in workers(server) if other.pid != worker.pid]
    for other in others:
        os.kill(other.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for other in others:
            os.kill(other.pid, signal.SIGCONT)


def ask(server: Server, version: str | None = None) -> int:
    body = {"inputs": FIELD, "version": version}
    return httpx.post(f"{server.url}/predict", json=body, timeout=60).status_code


def asked_each(server: Server, version: str) -> list[int]:
    statuses = []
    for worker in workers(server):
        with only(server, worker):
            statuses.append(ask(server, version))
    return statuses


def figures(server: Server) -> dict[Key, float]:
    """By name and worker, sums over other labels."""
    sums: dict[Key, float] = {}
    text = httpx.get(f"{server.url}/monitoring/metrics", timeout=60).text
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("endpoint", "/predict") == "/predict":
                key = sample.name, sample.labels.get("worker", "")
                sums[key] = sums.get(key, 0.0) + sample.value
    return sums


def control(server: Server, what: str, **body: object) -> int:
    url = f"{server.url}/v2/repository/models/line/{what}"
    return httpx.post(url, json=body, timeout=120).status_code


def test_figures_are_of_all_workers_and_outlive_each(pair: Server) -> None:
    for worker in workers(pair):
        with only(pair, worker):
            assert [ask(pair) for _ in range(5)] == [200] * 5
            assert httpx.get(f"{pair.url}/stats", timeout=60).json()["workers"] == 2  # one of them as it was last
    found = figures(pair)
    assert found["pnol_requests_total", ""] == 10
    assert found["pnol_workers", ""] == 2
    assert found["pnol_model_ready", ""] == 2  # two versions, each in both
    assert found["pnol_cache_misses_total", ""] + found["pnol_cache_hits_total", ""] == 10
    assert {worker for name, worker in found if name == "process_threads"} == {"0", "1"}
    stats = httpx.get(f"{pair.url}/stats").json()
    assert stats["resources"]["resident_bytes"] == pytest.approx(
        sum(worker.memory_info().rss for worker in workers(pair)), rel=0.2
    )
    assert httpx.get(f"{pair.url}/monitoring/scaling").json()["queue_limit"] == 2 * 1024

    os.kill(workers(pair)[0].pid, signal.SIGKILL)
    until(lambda: figures(pair)["pnol_workers", ""] == 1)
    assert figures(pair)["pnol_requests_total", ""] == 10
    until(lambda: figures(pair)["pnol_workers", ""] == 2, seconds=120)
    assert ask(pair) == 200
    after = figures(pair)
    assert after["pnol_requests_total", ""] == 11
    assert after["pnol_worker_starts_total", ""] == 3
    assert pair.stop() == 0


def test_versions_and_labels_are_the_same_in_all_and_in_one_that_comes_later(pair: Server, tmp_path: Path) -> None:
    def labels(version: str) -> list[str]:
        found = httpx.get(f"{pair.url}/models", timeout=60).json()["models"]
        return next(model["labels"] for model in found if model["version"] == version)

    assert asked_each(pair, "2") == [200, 200]
    assert control(pair, "unload", parameters={"version": "2"}) == 200
    assert asked_each(pair, "2") == [404, 404]
    (tmp_path / "models" / "line" / "labels.toml").write_text('stable = "1"\n')
    assert control(pair, "load", parameters={"version": "1"}) == 200
    for worker in workers(pair):
        with only(pair, worker):
            assert labels("1") == ["stable"]
    assert control(pair, "load", parameters={"version": "9"}) == 404
    weights = tmp_path / "models" / "line" / "2" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"\xff")
    assert control(pair, "load", parameters={"version": "2"}) == 400  # as one worker says, both do
    weights.write_bytes(whole)
    assert control(pair, "unload", parameters={"version": "2"}) == 200

    os.kill(workers(pair)[0].pid, signal.SIGKILL)
    until(lambda: figures(pair)["pnol_worker_starts_total", ""] == 3)
    until(lambda: figures(pair)["pnol_workers", ""] == 2, seconds=120)
    assert asked_each(pair, "2") == [404, 404]
    assert asked_each(pair, "1") == [200, 200]
    assert control(pair, "load", parameters={"version": "2"}) == 200
    assert asked_each(pair, "2") == [200, 200]
    assert pair.stop() == 0
