"""A real fleet that falls ill under load: a replica grows, one is slow, the disk is full, HAProxy stands still."""

import itertools
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from serving.fleet.replicas.book import read_book
from tests.processes import until
from tests.serving.fleet.conftest import Begin, load

pytestmark = pytest.mark.slow

LIMIT, STEP = 2 * 2**30, 16 * 2**20  # bytes
LEAK = """
import os, pathlib, threading, time

name, sign = os.environ.get("PNOL_FLEET_REPLICA", "").split(":")[-1], pathlib.Path(SIGN)

def leak():
    while not sign.exists() or sign.read_text() != name:
        time.sleep(0.1)
    held = []
    while len(held) * STEP < SIZE:  # by steps, which hold up nobody
        held.append(b"1" * STEP)
        time.sleep(0.02)
    threading.Event().wait()

threading.Thread(target=leak, daemon=True).start()
"""


def test_one_above_its_memory_is_replaced_once_another_is_ready(begin: Begin, tmp_path: Path) -> None:
    sign = tmp_path / "sign"  # names the replica that shall grow
    text = LEAK.replace("SIGN", repr(str(sign))).replace("SIZE", str(LIMIT)).replace("STEP", str(STEP))
    (tmp_path / "sitecustomize.py").write_text(text)
    fleet = begin(
        minimum=1, more=f'[healing]\nmemory_bytes = {LIMIT}\n[replicas.environment]\nPYTHONPATH = "{tmp_path}"\n'
    )
    fleet.settled(1)
    (victim,) = fleet.serving()
    with load(fleet.url) as asked:
        (tmp_path / "part").write_text(victim)
        (tmp_path / "part").rename(sign)
        until(lambda: victim not in fleet.serving(), seconds=60)
        fleet.settled(1)
    assert not asked.failed
    (ill,) = fleet.decisions(event="ill (retire)")
    assert ill["replica"] == victim
    assert ill["why"].startswith("memory: ")
    later = [line for line in fleet.decisions() if line["time"] >= ill["time"]]
    events = [(line["event"], line.get("replica") == victim) for line in later]
    assert events.index(("ready", False)) < events.index(("draining", True))


@contextmanager
def slowed(pid: int, share: float = 0.8, period: float = 0.25) -> Iterator[None]:
    """Have a process stand still for this share of the time, each time for less than a probe's patience."""
    over = threading.Event()

    def stop_and_go() -> None:
        with suppress(ProcessLookupError):
            while not over.is_set():
                os.kill(pid, signal.SIGSTOP)
                time.sleep(share * period)
                os.kill(pid, signal.SIGCONT)
                time.sleep((1 - share) * period)

    worker = threading.Thread(target=stop_and_go)
    worker.start()
    try:
        yield
    finally:
        over.set()
        worker.join()


def test_one_that_is_slow_gets_no_requests_for_a_while_and_comes_back(begin: Begin) -> None:
    fleet = begin(
        "balancer.method=round_robin", more="[replicas]\nprobe_deadline = 2.0\n[healing]\nslow_requests = 3\n"
    )
    fleet.settled(2)
    before = fleet.serving()
    victim = min(before)
    (process,) = [each["pid"] for each in fleet.replicas(name=victim)]
    with load(fleet.url, again=True) as asked:
        with slowed(process):
            until(lambda: victim not in fleet.serving(), seconds=60)
            assert fleet.serving() == before - {victim}
        until(lambda: fleet.serving() == before, seconds=60)
    assert not asked.failed
    assert [line["why"].split(":")[0] for line in fleet.decisions(event="ill (hold)", replica=victim)] == ["slow"]
    assert fleet.events().count("started") == 2


@pytest.fixture
def little(tmp_path: Path) -> Iterator[Path]:
    """The fleet's folder, on a disk of its own of 2 MiB."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_said_and_all_goes_on(little: Path, begin: Begin) -> None:
    fleet = begin(spares=1, more="[healing]\ndisk_bytes = 200_000\n")
    fleet.settled(2, 1)
    with load(fleet.url, again=True) as asked:
        with (little / "filling").open("wb", buffering=0) as filling, suppress(OSError):
            while True:
                filling.write(bytes(4096))
        until(lambda: fleet.about()["disk_full"])
        assert "pnol_fleet_disk_full 1.0" in httpx.get(f"{fleet.own}/monitoring/metrics").text
        (victim, *_) = fleet.replicas(serving=True)
        os.kill(victim["pid"], signal.SIGKILL)
        until(lambda: victim["name"] not in fleet.serving())
        fleet.settled(2, 1)
        balancer = fleet.haproxy()
        os.kill(balancer, signal.SIGKILL)
        until(lambda: fleet.about()["balancer"] is not None)
        before = len(asked.answers)
        until(lambda: len(asked.answers) > before + 10)
        (little / "filling").unlink()
        until(lambda: not fleet.about()["disk_full"])
    assert not asked.failed
    until(lambda: {"disk full", "disk has room"} <= set(fleet.events()))
    until(lambda: fleet.haproxy() != balancer)

    def booked() -> bool:  # what could not be written is tried again
        book = read_book(fleet.folder)
        return book is not None and {each.name for each in book.replicas} == {each["name"] for each in fleet.replicas()}

    until(booked)


def test_replicas_that_cannot_be_started_are_tried_again_after_ever_longer_pauses(begin: Begin) -> None:
    fleet = begin(minimum=1)
    fleet.settled(1)
    for name in ("r2", "r3", "r4"):
        (fleet.folder / f"{name}.log").mkdir()  # where its output should go
    (victim,) = fleet.replicas()
    os.kill(victim["pid"], signal.SIGKILL)
    until(lambda: not fleet.replicas(name=victim["name"]))
    fleet.settled(1)
    tries = fleet.decisions(event="not started")
    assert [line["replica"] for line in tries] == ["r2", "r3", "r4"]
    assert "Is a directory" in tries[0]["why"]
    times = [line["time"] for line in [*tries, *fleet.decisions(event="started", replica="r5")]]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert all(pause >= least for pause, least in zip(pauses, (0.4, 0.9, 1.9), strict=True))
    assert "crash loop" in fleet.events()


def test_a_balancer_that_stands_still_is_replaced_by_one_with_the_same_servers(begin: Begin) -> None:
    fleet = begin()
    fleet.settled(2)
    before, victim = fleet.serving(), fleet.haproxy()
    with load(fleet.url, again=True) as asked:
        os.kill(victim, signal.SIGSTOP)
        until(lambda: fleet.haproxy() != victim)

        def ready() -> set[str]:
            servers = httpx.get(f"{fleet.own}/load_balancer").json()["servers"]
            return {name for name, server in servers.items() if server["admin"] == "ready" and server["up"]}

        until(lambda: ready() == before)
    assert not asked.failed
    assert [line["why"] for line in fleet.decisions(event="balancer lost")] == ["no answer for 2 s"]


def test_a_supervisor_that_can_open_no_file_harms_nobody_and_goes_on_once_it_can(begin: Begin) -> None:
    fleet = begin("healing.stall_all_seconds=3.0")
    fleet.settled(2)
    before, balancer, pid = fleet.serving(), fleet.haproxy(), fleet.process.pid
    victim = min(before)
    (process,) = [each["pid"] for each in fleet.replicas(name=victim)]
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with load(fleet.url, again=True) as asked:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        until(lambda: "could not look" in fleet.events())
        time.sleep(5.0)  # longer than its patience with replicas, and with the balancer
        os.kill(process, signal.SIGKILL)
        time.sleep(1.0)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        until(lambda: victim not in fleet.serving(), seconds=60)
        fleet.settled(2)
    assert not asked.failed
    assert before - {victim} < fleet.serving()
    assert fleet.haproxy() == balancer
    since = fleet.events()[fleet.events().index("could not look") + 1 :]
    assert not [event for event in since if event in ("could not look", "killed", "balancer lost")]
