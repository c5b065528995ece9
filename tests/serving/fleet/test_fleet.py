"""A real fleet, of which things are killed under load: nobody who asks it notices, or for a moment only."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.processes import until
from tests.serving.fleet.conftest import Begin, ask, gone, load

pytestmark = pytest.mark.slow


def test_a_replica_that_is_killed_is_replaced_by_the_spare_and_nothing_is_lost(begin: Begin) -> None:
    fleet = begin(minimum=1, spares=1)
    fleet.settled(1, 1)
    with load(fleet.url, again=True) as asked:
        (victim,) = fleet.replicas(serving=True)
        os.kill(victim["pid"], signal.SIGKILL)
        until(lambda: fleet.serving() and victim["name"] not in fleet.serving())
        fleet.settled(1, 1)
    assert not asked.failed
    assert fleet.events().count("started") == 3
    fleet.process.terminate()
    assert fleet.process.wait(60) == 0
    assert gone(fleet.haproxy())
    assert not [name for name in fleet.folder.glob("r*.log") if "Traceback" in name.read_text()]


def test_one_that_stands_still_gets_no_requests_then_ends(begin: Begin) -> None:
    fleet = begin(more="[healing]\nstall_seconds = 2.0\n")
    fleet.settled(2)
    with load(fleet.url, again=True) as asked:
        victim = fleet.replicas(serving=True)[0]
        os.kill(victim["pid"], signal.SIGSTOP)
        until(lambda: victim["name"] not in fleet.serving())
        assert fleet.serving()
        until(lambda: gone(victim["pid"]))
        fleet.settled(2)
    assert not asked.failed
    assert "ill (hold)" in fleet.events()
    assert "ill (kill)" in fleet.events()


def test_one_that_stood_still_for_a_moment_comes_back(begin: Begin) -> None:
    fleet = begin(more="[healing]\nstall_seconds = 60.0\n")
    fleet.settled(2)
    before = fleet.serving()
    victim = fleet.replicas(serving=True)[0]
    os.kill(victim["pid"], signal.SIGSTOP)
    until(lambda: victim["name"] not in fleet.serving())
    os.kill(victim["pid"], signal.SIGCONT)
    until(lambda: fleet.serving() == before)
    assert not gone(victim["pid"])


def test_the_supervisor_is_killed_and_the_next_one_takes_over(begin: Begin, tmp_path: Path) -> None:
    fleet = begin()
    fleet.settled(2)
    before, balancer = {each["pid"] for each in fleet.replicas()}, fleet.haproxy()
    with load(fleet.url, again=True) as asked:
        fleet.process.kill()
        fleet.process.wait()
        assert ask(fleet.url).status_code == 200
        doomed = min(before)
        os.kill(doomed, signal.SIGKILL)  # while nobody looks
        successor = begin()
        assert successor.url == fleet.url
        successor.settled(2)
        refused = subprocess.run(
            [sys.executable, "-m", "serving.fleet", "--config", str(fleet.config)], capture_output=True, text=True
        )
    assert not asked.failed
    assert refused.returncode == 2
    assert "another supervisor looks after this fleet" in refused.stderr
    assert {each["pid"] for each in successor.replicas()} >= before - {doomed}
    assert successor.haproxy() == balancer
    successor.process.terminate()
    assert successor.process.wait(60) == 0
    assert all(gone(pid) for pid in (*before, balancer))


def test_a_supervisor_may_leave_its_fleet(begin: Begin) -> None:
    fleet = begin("--leave", minimum=1)
    fleet.settled(1)
    (replica,) = fleet.replicas()
    assert fleet.post("/admin/scale", replicas=2).status_code == 200
    fleet.settled(2)
    fleet.process.terminate()
    assert fleet.process.wait(60) == 0
    assert ask(fleet.url).status_code == 200
    successor = begin()
    assert replica["pid"] in [each["pid"] for each in successor.replicas()]
    assert successor.decisions(event="scale")[-1]["why"].startswith("fixed 2, as a person told the supervisor before")
    successor.process.terminate()
    assert successor.process.wait(60) == 0
    anew = begin()  # another fleet, of which nobody has said anything
    said = httpx.get(f"{anew.own}/monitoring/scaling").json()
    assert (said["desired"], said["bounds"]["fixed"]) == (1, None)


def test_the_balancer_is_killed_and_started_with_the_same_servers(begin: Begin) -> None:
    fleet = begin()
    fleet.settled(2)
    before, victim = fleet.serving(), fleet.haproxy()
    os.kill(victim, signal.SIGKILL)
    until(lambda: fleet.haproxy() != victim)
    assert ask(fleet.url).status_code == 200

    def ready() -> set[str]:
        servers = httpx.get(f"{fleet.own}/load_balancer").json()["servers"]
        return {name for name, server in servers.items() if server["admin"] == "ready" and server["up"]}

    until(lambda: ready() == before)
    assert fleet.events().count("balancer") == 2


def test_it_grows_and_shrinks_by_request_and_no_request_fails(begin: Begin) -> None:
    fleet = begin(minimum=1)
    fleet.settled(1)
    with load(fleet.url) as asked:
        assert fleet.post("/admin/scale", replicas=3).json()["desired"] == 3
        fleet.settled(3)
        assert fleet.post("/admin/scale", replicas=1).json()["desired"] == 1
        fleet.settled(1)
        assert fleet.post("/admin/scale", minimum=2).json()["minimum"] == 2
        fleet.settled(2)
    assert not asked.failed
    assert fleet.post("/admin/scale", minimum=4, maximum=2).status_code == 400
    assert fleet.post("/admin/scale", replica=4).status_code == 400
    refused = fleet.post("/admin/scale", replicas=4)
    assert (refused.status_code, refused.json()) == (400, {"error": "replicas: got 4, expected 1 to 3"})
    assert httpx.post(f"{fleet.own}/admin/scale", content="{}").status_code == 415
    metrics = httpx.get(f"{fleet.own}/monitoring/metrics").text
    assert 'pnol_fleet_replicas{phase="ready"} 2.0' in metrics
    assert httpx.get(f"{fleet.url}/monitoring/scaling").json()["current"] == 2  # past the balancer too
    assert fleet.post("/load_balancer", method="cache").status_code == 400
    name = min(fleet.serving())
    assert fleet.post("/load_balancer", replica=name, state="drain").status_code == 200
    until(lambda: name not in fleet.serving())
    assert fleet.post("/load_balancer", weights={"r99": 1.0}).status_code == 404


def test_an_update_replaces_all_and_one_that_does_not_start_none(begin: Begin, tmp_path: Path) -> None:
    fleet = begin()
    fleet.settled(2)
    before = {each["pid"] for each in fleet.replicas()}
    text = fleet.config.read_text()
    with load(fleet.url) as asked:
        fleet.config.write_text(text.replace("cache_bytes = 0", "cache_bytes = 1000"))
        assert fleet.post("/admin/restart").json()["release"] == 2
        until(lambda: "updated" in fleet.events(), seconds=120)
        fleet.settled(2)
        after = {each["pid"] for each in fleet.replicas(release=2)}
        assert len(after) == 2
        assert not before & after

        shared = tmp_path / "shared"
        shared.mkdir(mode=0o755)  # which a replica finds out only when it starts
        fleet.config.write_text(text.replace("cache_bytes = 0", f'executables = "{shared}"'))
        fleet.process.send_signal(signal.SIGHUP)
        until(lambda: "rolled back" in fleet.events(), seconds=120)
        fleet.settled(2)
        assert {each["pid"] for each in fleet.replicas(release=2)} == after
        fleet.config.write_text(text + "\nunknown = 1\n")
        assert fleet.post("/admin/restart").status_code == 400
    assert not asked.failed


def test_wrong_settings_of_the_first_replicas_end_the_fleet_and_say_why(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssertionError, match="no model could be loaded"):
        begin(f"serving.models={tmp_path / 'empty'}")
