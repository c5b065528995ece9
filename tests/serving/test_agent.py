"""What a balancer hears of this process follows what requests wait, and nothing while it is not ready."""

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pnol_jax.errors import InputError
from serving.agent import Agent
from serving.monitoring.histogram import Histogram
from serving.settings import Settings, read_settings
from tests.serving.conftest import running

HALF = 0.1


class Waiting:
    """A service with two versions, one of them on two devices, and so many seconds of work that waits."""

    def __init__(self) -> None:
        self.backlog, self.ready = 0.0, True
        self.queues = [Histogram(), Histogram(), Histogram()]
        first, second, third = (SimpleNamespace(stages=SimpleNamespace(queue=q), others=()) for q in self.queues)
        second.others = (third,)
        entries = [SimpleNamespace(ladder=ladder) for ladder in (first, None, second)]
        service: Any = SimpleNamespace(
            repository=SimpleNamespace(entries=lambda: entries),
            engine=SimpleNamespace(backlog_seconds=lambda: self.backlog),
        )
        readiness: Any = self
        self.agent = Agent(service, readiness, Settings(models="", agent_port=0, agent_half_seconds=HALF))


@pytest.mark.parametrize(("wait", "line"), [(0.0, b"100%\n"), (HALF, b"50%\n"), (3 * HALF, b"25%\n"), (1e3, b"1%\n")])
def test_the_share_falls_with_what_waits_and_with_what_was_waited(wait: float, line: bytes) -> None:
    waiting = Waiting()
    waiting.backlog = wait
    assert waiting.agent.line() == line
    waiting.backlog = 0.0
    for queue in waiting.queues:  # means of all versions and devices
        queue.observe(wait / 2)
        queue.observe(3 * wait / 2)
    assert waiting.agent.line() == line
    assert waiting.agent.line() == b"100%\n"  # nobody has waited since


def test_counts_of_a_version_that_left_are_no_waiting() -> None:
    waiting = Waiting()
    waiting.queues[0].observe(1.0)
    waiting.agent.line()
    waiting.queues[0].counts[:], waiting.queues[0].total = [0] * len(waiting.queues[0].counts), 0.0
    assert waiting.agent.line() == b"100%\n"


def test_one_that_is_not_ready_takes_nothing() -> None:
    waiting = Waiting()
    waiting.ready = False
    assert waiting.agent.line() == b"0%\n"


def test_a_server_says_it_to_whoever_connects(small: Path, tmp_path: Path) -> None:
    with running(small, tmp_path / "errors", "--agent-port", "0", "--batch-sizes", "[1]") as server:
        port = int(server.ready_line.partition("agent://127.0.0.1:")[2].split()[0])
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                assert connection.makefile("rb").read() == b"100%\n"
        assert server.stop() == 0


def test_several_workers_have_no_agent(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="agent_port: got 0 with 2 workers, expected one process"):
        read_settings(["--models", str(tmp_path), "--workers", "2", "--agent-port", "0"])
