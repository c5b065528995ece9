"""Several processes on one port: one that dies is missed by nobody for long, and all drain together."""

import os
import signal
import socket
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from serving.workers.hub import Hub
from serving.workers.supervision import Worker
from tests import heat
from tests.processes import until
from tests.serving.conftest import Server, running


@pytest.fixture
def pair(models: Path, tmp_path: Path) -> Server:
    flags = ("--workers", "2", "--batch-sizes", "[1]", "--samples-batch-sizes", "[1]")
    with running(models, tmp_path / "errors", *flags) as server:
        yield server


def children(server: Server) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


def ask(server: Server) -> int:
    """On a connection of its own."""
    field = heat.wave(heat.grid(10, 11), 1, 2)[0].tolist()
    return httpx.post(f"{server.url}/predict", json={"inputs": field}, timeout=30).status_code


def test_a_worker_that_is_killed_is_missed_for_less_than_a_second_and_comes_back(pair: Server) -> None:
    assert "in 2 workers" in pair.ready_line
    first = children(pair)
    assert len(first) == 2
    assert ask(pair) == 200
    os.kill(first[0].pid, signal.SIGKILL)
    killed, errors = time.monotonic(), []
    while time.monotonic() < killed + 3:
        try:
            assert ask(pair) == 200
        except httpx.TransportError:  # a connection that the dead one had accepted
            errors.append(time.monotonic() - killed)
    assert all(error < 1 for error in errors)
    until(lambda: len(children(pair)) == 2)
    assert first[1].pid in {child.pid for child in children(pair)}
    assert "worker" in pair.errors.read_text()
    assert pair.stop() == 0


def test_each_has_cores_of_its_own_and_ends_with_its_parent(pair: Server) -> None:
    workers, cores = children(pair), sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        shares = [set(worker.cpu_affinity()) for worker in workers]
        assert set.union(*shares) == set(cores)
        assert not set.intersection(*shares)
    pair.process.kill()
    until(lambda: not any(worker.is_running() and worker.status() != "zombie" for worker in workers))


def test_what_stops_one_at_the_start_stops_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with (
        pytest.raises(AssertionError, match="no ready line"),
        running(tmp_path / "empty", tmp_path / "errors", "--workers", "2"),
    ):
        pass
    assert "no model could be loaded" in (tmp_path / "errors").read_text()


def test_a_worker_that_the_machine_cannot_start_is_tried_again(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        worker = Worker([sys.executable, "-c", "pass"], 0, 1, listener.fileno(), Hub(1, 10), 60.0)
        worker.start()
        assert worker.process is not None
        assert worker.process.wait(60) == 0
        first = worker.process.stdout
        until(lambda: first is not None and first.closed and not worker.hub._links)  # its threads have ended
        command, worker.command = worker.command, ["/nowhere/python"]
        ended, before = worker.started + 1.0, len(os.listdir("/proc/self/fd"))
        worker.tend(ended)
        for pause in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0):
            assert worker.due == ended + pause
            assert f"cannot be started, and is tried again in {pause:g} s" in capfd.readouterr().err
            worker.tend(ended + 0.9 * pause)
            assert not capfd.readouterr().err
            ended += pause
            worker.tend(ended)
        assert len(os.listdir("/proc/self/fd")) == before
        assert not worker.hub._links
        worker.command = [*command[:2], "raise SystemExit(3)"]
        worker.tend(ended + 30.0)
        assert worker.process.wait(60) == 3
        assert worker.due is None
