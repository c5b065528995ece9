"""Servers come, drain, die and return, and so does HAProxy: no request that was accepted is lost."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from pnol_jax.errors import InputError
from serving.fleet.balancer import Balancer, BalancerConfig, CommandError, Unreachable, process
from serving.fleet.identity import Identity
from tests.processes import until
from tests.serving.fleet.balancer.asking import Load, ask, at_once, names
from tests.serving.fleet.balancer.backends import Backend
from tests.serving.fleet.balancer.conftest import QUICK, Begin

LEAVES = """
import sys
from pathlib import Path
from serving.fleet.balancer import Balancer, BalancerConfig, Server
balancer = Balancer(BalancerConfig(port=0, method="weighted"), Path(sys.argv[1]))
balancer.start([Server("a", "127.0.0.1", int(sys.argv[2]))])
balancer.weight("a", 0.5)
print(balancer.identity.pid, balancer.url)
"""


def test_servers_are_added_drained_and_removed_under_load_and_nothing_is_lost(
    begin: Begin, backends: list[Backend]
) -> None:
    a, b, c = backends
    balancer = begin(a, b)
    with Load(balancer) as load:
        for leaving, coming in ((a, c), (b, a), (c, b)):
            balancer.add(coming.server)
            until(lambda: coming.name in load.got)  # noqa: B023
            balancer.drain(leaving.name)
            until(lambda: balancer.servers()[leaving.name].open_requests == 0)  # noqa: B023
            seen = len(leaving.got)
            before = load.got.total()
            until(lambda: load.got.total() > before + 50)  # noqa: B023
            assert len(leaving.got) == seen
            balancer.remove(leaving.name)
    assert set(load.got) == {"a", "b", "c"}, load.got
    assert set(balancer.servers()) == {"a", "b"}


def test_a_server_that_dies_costs_no_request_that_may_be_repeated(begin: Begin, backends: list[Backend]) -> None:
    a, b, _ = backends
    balancer = begin(a, b)
    a.closed = True
    with Load(balancer, clients=4) as load:
        until(lambda: a.held)
        a.die()
        until(lambda: not balancer.servers()["a"].up)
        before = load.got["b"]
        until(lambda: load.got["b"] > before + 50)
    assert set(load.got) - {"a"} == {"b"}, load.got
    assert balancer.figures().retries > 0


def test_a_request_that_may_not_be_repeated_is_sent_once(begin: Begin, backends: list[Backend]) -> None:
    a, b, _ = backends
    balancer = begin(a, b, method="sticky")
    a.closed = b.closed = True
    with at_once(balancer, 1, path="/feedback", content=b"{}") as asked:
        until(lambda: a.held + b.held == 1)
        (a if a.held else b).die()
        answer = asked[0].result(20)
        a.closed = b.closed = False
    assert (answer.status_code, answer.json()) == (502, {"error": "the replica gave no answer"})
    assert len(a.got) + len(b.got) == 1


def test_a_server_that_is_not_ready_gets_nothing_until_it_is(begin: Begin, backends: list[Backend]) -> None:
    a, b, _ = backends
    balancer = begin(a, b)
    b.ready = False
    until(lambda: not balancer.servers()["b"].up)
    assert balancer.servers()["b"].check == "L7STS"
    assert names(balancer, 6) == {"a": 6}
    b.ready = True
    until(lambda: balancer.servers()["b"].up)
    assert set(names(balancer, 6)) == {"a", "b"}


def test_one_that_was_added_begins_slowly(begin: Begin, backends: list[Backend]) -> None:
    a, b, _ = backends
    balancer = begin(a, slow_start_seconds=20.0)
    balancer.add(b.server)
    state = balancer.servers()["b"]
    assert state.up
    assert state.share == 1
    assert state.effective_share < 0.5
    assert balancer.servers()["a"].effective_share == 1


def test_without_a_replica_it_says_so_and_counts_who_asked(begin: Begin, backends: list[Backend]) -> None:
    balancer = begin(retry_after_seconds=7)
    answer = ask(balancer, content=b"x", headers={"x-request-id": "mine"})
    assert (answer.status_code, answer.json()) == (503, {"error": "no replica can answer now"})
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["content-type"] == "application/json"
    assert balancer.figures().unserved == 1
    balancer.add(backends[0].server)
    assert ask(balancer).text == "a"
    figures = balancer.figures()
    assert (figures.unserved, figures.requests, figures.errors_5xx) == (1, 2, 1)


def test_the_next_supervisor_finds_what_the_last_one_left(folder: Path, begin: Begin, backends: list[Backend]) -> None:
    a, b, _ = backends
    begin().stop(0)  # skips where there is no HAProxy
    command = [sys.executable, "-c", LEAVES, str(folder), str(a.server.port)]
    pid, url = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    balancer = begin(a, b, method="weighted", check_seconds=0.2)
    assert balancer.identity is not None
    assert (balancer.identity.pid, balancer.url) == (int(pid), url)
    assert balancer.outdated  # it began with other settings
    assert {name: state.share for name, state in balancer.servers().items()} == {"a": 0.5, "b": 1.0}
    assert set(names(balancer, 6)) == {"a", "b"}
    os.kill(balancer.identity.pid, signal.SIGKILL)
    until(lambda: not balancer.running())
    balancer.start([a.server, b.server])
    assert balancer.url == url
    assert not balancer.outdated
    assert balancer.servers()["a"].share == 0.5


def test_after_its_death_the_next_has_the_same_servers_and_who_came_meanwhile_is_answered(
    begin: Begin, backends: list[Backend]
) -> None:
    a, b, c = backends
    balancer = begin(a, method="cache")
    for each in (b, c):
        balancer.add(each.server)
    balancer.remove("a")
    balancer.weight("c", 0.5)
    balancer.drain("c")
    before, identity = balancer.servers(), balancer.identity
    assert identity is not None
    identity.signal(signal.SIGKILL)
    until(lambda: not balancer.running())
    with pytest.raises(Unreachable):
        balancer.servers()
    with at_once(balancer, 3) as asked:
        time.sleep(0.2)
        assert not any(each.done() for each in asked)
        balancer.start([b.server, c.server])
        assert {each.result(20).text for each in asked} == {"b"}
    assert balancer.identity != identity
    for name, state in balancer.servers().items():
        kept = ("host", "port", "admin", "share", "id")
        assert [getattr(state, each) for each in kept] == [getattr(before[name], each) for each in kept]
    balancer.enable("c")
    assert balancer.servers()["c"].admin == "ready"


def test_for_want_of_files_of_ours_it_is_neither_lost_nor_replaced(begin: Begin, backends: list[Backend]) -> None:
    balancer = begin(backends[0])
    identity, limits = balancer.identity, resource.getrlimit(resource.RLIMIT_NOFILE)
    assert identity is not None
    faults = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        for act in (balancer.figures, balancer.servers, lambda: balancer.start([backends[0].server])):
            try:
                act()
            except OSError as error:
                faults.append(error.errno)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert faults == [errno.EMFILE] * 3
    assert identity.alive()
    balancer.start([backends[0].server])
    assert balancer.identity == identity
    until(lambda: ask(balancer).text == "a")  # the backend had no files either


def test_one_that_stands_still_is_replaced(begin: Begin, backends: list[Backend]) -> None:
    balancer = begin(backends[0])
    stopped = balancer.identity
    assert stopped is not None
    stopped.signal(signal.SIGSTOP)
    assert balancer.running()
    with pytest.raises(Unreachable, match="timed out"):
        balancer.figures()
    balancer.start([backends[0].server])
    assert not stopped.alive()
    assert ask(balancer).text == "a"


def test_a_gentle_stop_answers_what_is_open_and_takes_nothing_more(begin: Begin, backends: list[Backend]) -> None:
    a = backends[0]
    balancer = begin(a)
    identity = balancer.identity
    a.closed = True
    with at_once(balancer, 1) as asked:
        until(lambda: a.held)
        balancer.stop(0.3)  # too short
        assert identity is not None
        assert not identity.alive()
        with pytest.raises(httpx.HTTPError):
            asked[0].result(20)
    a.closed = False
    balancer.start([a.server])
    a.closed = True
    with at_once(balancer, 1) as asked:
        until(lambda: a.held)
        os.kill(balancer.identity.pid, signal.SIGUSR1)  # type: ignore[union-attr]
        a.closed = False
        assert asked[0].result(20).text == "a"
    balancer.stop(10)
    with pytest.raises(httpx.ConnectError):
        ask(balancer)


def test_its_number_in_another_process_is_not_taken_for_it(begin: Begin, folder: Path, backends: list[Backend]) -> None:
    balancer = begin(backends[0])
    balancer.stop(0)
    me = Identity.of(os.getpid())
    assert me is not None
    other = Identity(me.pid, me.started - 1)
    process.remember(folder, process.Record(other, "127.0.0.1", 1, ""))
    balancer.start([backends[0].server])
    assert ask(balancer).text == "a"


def test_what_haproxy_refuses_is_said(begin: Begin, backends: list[Backend], folder: Path) -> None:
    a, b, _ = backends
    balancer = begin(a)
    with pytest.raises(CommandError, match="'set server replicas/x state drain': No such server"):
        balancer.drain("x")
    with pytest.raises(CommandError, match="Already exists a server with the same name"):
        balancer.add(a.server)
    with pytest.raises(InputError, match="share of a: got 3, expected 0 to"):
        balancer.weight("a", 3)
    port = int(balancer.url.rpartition(":")[2])
    taken = Balancer(BalancerConfig(**(QUICK | {"port": port})), folder / "other")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"address 127.0.0.1:{port}"):
        taken.start([b.server])
    (folder / "empty.pem").write_text("")
    wrong = Balancer(BalancerConfig(port=0, certificate=str(folder / "empty.pem")), folder / "other")
    with pytest.raises(InputError, match=r"^haproxy: [^\n]*empty.pem[^\n]*$"):
        wrong.start([])
    assert ask(balancer).text == "a"


def test_what_was_done_when_an_answer_was_lost_is_found_out(
    begin: Begin, backends: list[Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = backends
    balancer = begin(a, b)
    act = balancer._runtime.act

    def lost(command: str, says: str = "") -> None:
        act(command, says)
        if command.startswith(("add server", "del server")):
            raise Unreachable("no answer in time")

    monkeypatch.setattr(balancer._runtime, "act", lost)
    with pytest.raises(Unreachable):
        balancer.add(c.server)
    with pytest.raises(Unreachable):
        balancer.remove("b")
    monkeypatch.setattr(balancer._runtime, "act", act)
    assert balancer.recount().keys() == balancer.servers().keys() == {"a"}
    balancer.add(c.server)
    balancer.add(b.server)
    assert balancer.recount().keys() == {"a", "b", "c"}
    assert {ask(balancer).text for _ in range(9)} == {"a", "b", "c"}


def test_where_haproxy_is_missing_its_package_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(process, "PLACES", str(folder))
    balancer = Balancer(BalancerConfig(port=0), folder)
    with pytest.raises(InputError, match=r"haproxy: not installed, expected 2\.6 or later .*apt-get install haproxy"):
        balancer.start([])
    assert not balancer.running()


def test_a_folder_too_deep_for_a_socket_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="is too long for a socket"):
        Balancer(BalancerConfig(), folder / ("x" * 90))


def test_what_a_server_that_is_abandoned_would_not_answer_is_asked_of_another(
    begin: Begin, backends: list[Backend]
) -> None:
    a, b, _ = backends
    balancer = begin(a, b)
    a.closed = b.closed = True
    with at_once(balancer, 4, content=b"x") as asked:
        until(lambda: a.held == 2 and b.held == 2)
        balancer.abandon("a")
        until(lambda: b.held == 4)
        b.closed = False
        assert [answer.result().text for answer in asked] == ["b"] * 4
    assert balancer.servers()["a"].admin == "maint"


def test_it_starts_where_the_disk_takes_nothing(
    begin: Begin, backends: list[Backend], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, _ = backends
    balancer = begin(a)
    assert balancer.identity is not None
    record = process.recall(balancer.folder)
    balancer.identity.signal(signal.SIGKILL)
    assert balancer.identity.wait(20)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(process, "write_atomically", full)
    balancer.start([a.server, b.server])
    assert names(balancer, 10) == {"a": 5, "b": 5}
    found = process.recall(balancer.folder)  # by the next supervisor
    assert found is not None
    assert found != record
    assert found.identity == balancer.identity
