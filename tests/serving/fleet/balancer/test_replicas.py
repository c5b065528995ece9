"""Before real replicas: one that ends, whether the balancer was told or not, costs no prediction."""

import contextlib
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.fleet.balancer import Balancer, Server
from tests import heat
from tests.processes import until
from tests.serving import conftest
from tests.serving.conftest import running
from tests.serving.fleet.balancer.conftest import Begin


@pytest.fixture
def replicas(small: Path, tmp_path: Path) -> Iterator[list[conftest.Server]]:
    flags = ("--batch-sizes", "[1]", "--agent-port", "0")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(running(small, tmp_path / f"errors-{number}", *flags)) for number in range(2)]


@pytest.mark.slow
def test_replicas_that_end_are_missed_by_nobody(begin: Begin, replicas: list[conftest.Server]) -> None:
    balancer = begin(method="performance")
    for number, replica in enumerate(replicas):
        balancer.add(_server(replica, f"replica-{number}"))
    until(lambda: all(state.check == "L7OK" and state.agent_asked for state in balancer.servers().values()))
    with _asking(balancer) as got:
        until(lambda: got["200"] > 50)
        replicas[0].process.send_signal(signal.SIGTERM)  # nobody told the balancer
        assert replicas[0].process.wait(60) == 0
        until(lambda: not balancer.servers()["replica-0"].up)
        before = got["200"]
        until(lambda: got["200"] > before + 50)
    assert set(got) == {"200"}, got
    balancer.remove("replica-0")
    with _asking(balancer) as got:
        until(lambda: got["200"] > 10)
        replicas[1].process.kill()
        until(lambda: got["503"] > 1)
    assert set(got) <= {"200", "502", "503"}, got
    assert balancer.figures().unserved > 0


def _server(replica: conftest.Server, name: str) -> Server:
    agent = re.search(r"agent://127\.0\.0\.1:(\d+)", replica.ready_line)
    assert agent
    return Server(name, "127.0.0.1", replica.port, int(agent[1]))


@contextlib.contextmanager
def _asking(balancer: Balancer) -> Iterator[Counter[str]]:
    """Four clients that predict without end, each time something else; statuses, or errors of connections."""
    got, ending = Counter[str](), threading.Event()
    field = heat.wave(heat.grid(12), 1)[0]

    def run(seed: int) -> None:
        with httpx.Client(base_url=balancer.url, timeout=30, verify=False) as client:
            while not ending.is_set():
                seed += 4
                try:
                    asked = {"inputs": (field * (1 + seed / 1e4)).tolist(), "model": "line", "version": "1"}
                    got[str(client.post("/predict", json=asked).status_code)] += 1
                except httpx.HTTPError as error:
                    got[repr(error)] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield got
    finally:
        ending.set()
        for thread in threads:
            thread.join()
