"""A real HAProxy before small servers, ended after each test."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pnol_jax.errors import InputError
from serving.fleet.balancer import Balancer, BalancerConfig
from serving.fleet.balancer.process import find_haproxy
from tests.serving.fleet.balancer.backends import Backend

QUICK = {"port": 0, "check_seconds": 0.1, "check_again_seconds": 0.05, "agent_seconds": 0.05, "slow_start_seconds": 0.0}
Begin = Callable[..., Balancer]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Of a fleet; its path is short, as a socket is in it."""
    path = Path(tempfile.mkdtemp(prefix="fleet-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def backends() -> Iterator[list[Backend]]:
    """Three of them."""
    with contextlib.ExitStack() as stack:
        found = [Backend(name) for name in "abc"]
        for each in found:
            stack.callback(each.stop)
        yield found


@pytest.fixture
def begin(folder: Path) -> Iterator[Begin]:
    """Start a balancer of some settings before some backends."""
    try:
        find_haproxy()
    except InputError as error:
        pytest.skip(f"{error} (make test-fleet installs it on Debian)")
    begun: list[Balancer] = []

    def start(*backends: Backend, **settings: object) -> Balancer:
        balancer = Balancer(BalancerConfig(**(QUICK | settings)), folder)  # type: ignore[arg-type]
        begun.append(balancer)
        balancer.start([each.server for each in backends])
        return balancer

    yield start
    for balancer in reversed(begun):
        balancer.stop(0)
