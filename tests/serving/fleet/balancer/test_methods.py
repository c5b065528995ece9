"""Every method sends requests where it says."""

import os
from collections import Counter

import pytest

from pnol_jax.errors import InputError
from serving.fleet.balancer import Balancer, BalancerConfig, Server
from tests.processes import until
from tests.serving.fleet.balancer.asking import ask, at_once, names
from tests.serving.fleet.balancer.backends import Backend
from tests.serving.fleet.balancer.conftest import Begin

BODIES = [os.urandom(16) * 1024 for _ in range(60)]  # 16 KiB


def test_round_robin_goes_by_turns(begin: Begin, backends: list[Backend]) -> None:
    assert names(begin(*backends, method="round_robin"), 9) == {"a": 3, "b": 3, "c": 3}


def test_least_connections_leaves_out_who_is_busy(begin: Begin, backends: list[Backend]) -> None:
    a, b, _ = backends
    balancer = begin(a, b, method="least_connections")
    a.closed = True
    with at_once(balancer, 2):
        until(lambda: a.held == 1 and _open(balancer) == {"a": 1, "b": 0})  # the other one is answered
        assert names(balancer, 6) == {"b": 6}
        a.closed = False


def _open(balancer: Balancer) -> dict[str, int]:
    return {name: state.open_requests for name, state in balancer.servers().items()}


def test_weighted_goes_by_shares(begin: Begin, backends: list[Backend]) -> None:
    a, b, _ = backends
    balancer = begin(method="weighted")
    balancer.add(a.server)
    balancer.add(Server("b", b.server.host, b.server.port, share=0.25))
    assert names(balancer, 50) == {"a": 40, "b": 10}
    balancer.weight("b", 1.0)
    assert names(balancer, 50) == {"a": 25, "b": 25}


def test_performance_follows_what_agents_say(begin: Begin, backends: list[Backend]) -> None:
    a, b, _ = backends
    b.share = "25%"
    balancer = begin(a, method="performance")
    balancer.add(b.server)
    until(lambda: balancer.servers()["b"].share == 0.25)
    assert _held(balancer, a, b, 10) == (8, 2)
    b.share = "100%"
    until(lambda: balancer.servers()["b"].share == 1)
    assert _held(balancer, a, b, 10) == (5, 5)
    b.share = "0%"
    until(lambda: balancer.servers()["b"].effective_share == 0)
    assert names(balancer, 6) == {"a": 6}


def test_a_share_that_is_set_goes_before_the_agent(begin: Begin, backends: list[Backend]) -> None:
    a, b, _ = backends
    balancer = begin(a, b, method="performance")
    balancer.weight("b", 0.25)
    assert not balancer.servers()["b"].agent_asked
    assert _held(balancer, a, b, 10) == (8, 2)
    b.share = "50%"
    balancer.weight("b", 1.0)
    until(lambda: balancer.servers()["b"].share == 0.5)


def test_what_an_agent_says_does_not_end_a_drain(begin: Begin, backends: list[Backend]) -> None:
    a, b, _ = backends
    balancer = begin(a, b, method="performance")
    balancer.drain("b")
    b.share = "50%"
    until(lambda: balancer.servers()["b"].share == 0.5)
    assert balancer.servers()["b"].admin == "drain"
    assert names(balancer, 6) == {"a": 6}


def test_performance_needs_agents(begin: Begin) -> None:
    balancer = begin(method="performance")
    with pytest.raises(InputError, match="server x: has no agent_port, expected one"):
        balancer.add(Server("x", "127.0.0.1", 1))


@pytest.mark.parametrize("larger", [1, 20])
def test_cache_sends_the_same_body_to_the_same_replica(begin: Begin, backends: list[Backend], larger: int) -> None:
    """Also a body of 320 KiB, of which the balancer sees no more than its buffer holds."""
    a, b, c = backends
    balancer = begin(a, b, method="cache")
    bodies = [body * larger for body in BODIES[: max(12, 60 // larger)]]
    first = _places(balancer, bodies)
    assert set(first) == {"a", "b"}
    assert _places(balancer, bodies) == first
    balancer.add(c.server)
    third = _places(balancer, bodies)
    assert all(new in (old, "c") for old, new in zip(first, third, strict=True))  # nothing moves between the others
    balancer.remove("c")
    assert _places(balancer, bodies) == first


def test_cache_gives_a_successor_what_was_its_predecessors(begin: Begin, backends: list[Backend]) -> None:
    a, b, c = backends
    balancer = begin(a, b, method="cache")
    first = _places(balancer, BODIES)
    balancer.remove("a")
    balancer.add(c.server)
    assert _places(balancer, BODIES) == [{"a": "c"}.get(name, name) for name in first]


def test_cache_lets_a_replica_have_no_more_than_its_part_of_what_is_open(begin: Begin, backends: list[Backend]) -> None:
    a, b, _ = backends
    balancer = begin(a, b, method="cache", cache_overload=150)
    assert max(_held(balancer, a, b, 12, content=BODIES[0])) == 9


def test_sticky_keeps_a_client_with_a_replica(begin: Begin, backends: list[Backend]) -> None:
    balancer = begin(*backends, method="sticky", sticky_header="x-me")
    clients = [f"client-{number}" for number in range(30)]
    first = [ask(balancer, headers={"x-me": client}).text for client in clients]
    assert set(first) == {"a", "b", "c"}
    assert [ask(balancer, "/feedback", content=b"x", headers={"x-me": each}).text for each in clients] == first
    assert len(names(balancer, 6)) == 1  # without a name, by its address


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cache_bytes": 60_000}, "cache_bytes: got 60000, expected at most 49152 of 65536"),
        ({"slow_start_seconds": 0.5}, "slow_start_seconds: got 0.5, expected 0 or at least check_seconds, 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BalancerConfig(**settings)  # type: ignore[arg-type]


def _held(balancer: Balancer, a: Backend, b: Backend, number: int, **given: object) -> tuple[int, int]:
    """How many of so many requests at once each has."""
    a.closed = b.closed = True
    with at_once(balancer, number, **given):
        until(lambda: a.held + b.held == number)
        found = a.held, b.held
        a.closed = b.closed = False
    return found


def _places(balancer: Balancer, bodies: list[bytes]) -> list[str]:
    found = [ask(balancer, content=body) for body in bodies]
    assert Counter(each.status_code for each in found) == {200: len(bodies)}
    return [each.text for each in found]


def test_a_truth_goes_to_the_replica_that_its_header_names(begin: Begin, backends: list[Backend]) -> None:
    a, b, c = backends
    balancer = begin(a, b, method="round_robin")
    balancer.add(c.server)
    said = {ask(balancer).headers["x-replica"] for _ in range(6)}
    assert said == {"a", "b", "c"}
    for name in ("c", "a", "c", "b"):
        assert ask(balancer, "/feedback", headers={"x-replica": name}).text == name
    balancer.remove("c")
    assert {ask(balancer, "/feedback", headers={"x-replica": "c"}).text for _ in range(4)} == {"a", "b"}
    assert {ask(balancer, headers={"x-replica": "a"}).text for _ in range(4)} == {"a", "b"}
