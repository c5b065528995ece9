"""What can happen to a fleet on one machine, done to it for real; each is undone when its time is over.

| fault | what is done |
|---|---|
| killed | SIGKILL to a replica that gets requests |
| stopped | SIGSTOP to one: it keeps its connections and says nothing |
| out of memory | one may take 16 MiB more (memory cgroup), then is sent 48 MiB: the kernel kills it |
| slow disk | the file system of the fleet's folder (a loop device) takes no write for 3 s (fsfreeze) |
| balancer killed | SIGKILL to HAProxy |
| supervisor killed | SIGKILL; a second later it is started again, as an init system would |
| partition | packets to the port of one are dropped (iptables) until the next fault |
| bad version | a version of the model whose files are cut short appears, the newest of all |
| bad release | the replicas' settings change to such as none can start with, and an update is asked for |
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.fleets import Fleet

AGAIN = 1.0  # seconds after which an init system starts the supervisor again
FROZEN = 3.0  # seconds for which the disk takes nothing
MORE, SENT = 16 * 2**20, 48 * 2**20  # bytes that a replica may take beside what it has, and that come
GROUPS = Path("/sys/fs/cgroup")
DISK_MIB = 64


@dataclass
class Scene:
    """What faults are done to; `hurt`: names of replicas that count no more."""

    fleet: Fleet
    models: Path
    model: str
    dice: random.Random
    hurt: set[str] = field(default_factory=set)
    versions: int = 1

    def victim(self) -> dict[str, Any]:
        """A replica that gets requests, from now on hurt."""
        chosen: dict[str, Any] = self.dice.choice(self.fleet.serving())
        self.hurt.add(chosen["name"])
        return chosen


@contextlib.contextmanager
def killed(scene: Scene) -> Iterator[None]:
    """A replica ends."""
    os.kill(scene.victim()["pid"], signal.SIGKILL)
    yield


@contextlib.contextmanager
def stopped(scene: Scene) -> Iterator[None]:
    """A replica stands still."""
    os.kill(scene.victim()["pid"], signal.SIGSTOP)
    yield


@contextlib.contextmanager
def out_of_memory(scene: Scene) -> Iterator[None]:
    """A replica grows beyond what it may have."""
    victim = scene.victim()
    first = GROUPS / "memory"
    group = (first if first.is_dir() else GROUPS) / f"pnol-chaos-{victim['pid']}"
    group.mkdir()
    try:
        limit = "memory.limit_in_bytes" if first.is_dir() else "memory.max"
        (group / limit).write_text(str(MORE))
        (group / "cgroup.procs").write_text(str(victim["pid"]))
        threading.Thread(target=_send_much, args=(victim["port"],), daemon=True).start()
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim["pid"], signal.SIGKILL)
        _remove(group)


@contextlib.contextmanager
def slow_disk(scene: Scene) -> Iterator[None]:
    """Writes wait."""
    thaw = ["fsfreeze", "--unfreeze", str(scene.fleet.folder)]
    subprocess.run(["fsfreeze", "--freeze", str(scene.fleet.folder)], check=True)
    timer = threading.Timer(FROZEN, subprocess.run, (thaw,), {"check": True})
    timer.start()
    try:
        yield
    finally:
        timer.join()


@contextlib.contextmanager
def balancer_killed(scene: Scene) -> Iterator[None]:
    """HAProxy ends."""
    scene.fleet.balancer().signal(signal.SIGKILL)
    yield


@contextlib.contextmanager
def supervisor_killed(scene: Scene) -> Iterator[None]:
    """The supervisor ends, and another one comes."""
    process = scene.fleet.process
    assert process is not None
    process.kill()
    process.wait()
    time.sleep(AGAIN)
    scene.fleet.begin()
    yield


@contextlib.contextmanager
def partition(scene: Scene) -> Iterator[None]:
    """Nothing reaches a replica."""
    rule = ["INPUT", "-i", "lo", "-p", "tcp", "--dport", str(scene.victim()["port"]), "-j", "DROP"]
    subprocess.run(["iptables", "-w", "-I", *rule], check=True)
    try:
        yield
    finally:
        subprocess.run(["iptables", "-w", "-D", *rule], check=True)


@contextlib.contextmanager
def bad_version(scene: Scene) -> Iterator[None]:
    """A version appears that cannot be read."""
    scene.versions += 1
    folder = scene.models / scene.model
    aside, bad = folder / ".bad", folder / str(scene.versions)
    shutil.copytree(folder / "1", aside)
    manifest = json.loads((aside / "manifest.json").read_text())
    (aside / "manifest.json").write_text(json.dumps(manifest | {"version": bad.name}))
    for file in aside.rglob("*"):
        if file.is_file() and file.name != "manifest.json":
            os.truncate(file, file.stat().st_size // 2)
    aside.rename(bad)
    try:
        yield
    finally:
        shutil.rmtree(bad)


@contextlib.contextmanager
def bad_release(scene: Scene) -> Iterator[None]:
    """Settings with which no replica starts: a folder of executables that others may write to."""
    before = scene.fleet.config.read_text()
    shared = scene.models.parent / "shared"
    shared.mkdir(exist_ok=True)
    shared.chmod(0o777)
    kept = next(line for line in before.splitlines() if line.startswith("executables"))
    scene.fleet.config.write_text(before.replace(kept, f'executables = "{shared}"'))
    try:
        scene.fleet.post("/admin/restart")
    finally:
        scene.fleet.config.write_text(before)
    yield


Fault = Callable[[Scene], AbstractContextManager[None]]
FAULTS: dict[str, Fault] = {
    "killed": killed,
    "stopped": stopped,
    "out of memory": out_of_memory,
    "slow disk": slow_disk,
    "balancer killed": balancer_killed,
    "supervisor killed": supervisor_killed,
    "partition": partition,
    "bad version": bad_version,
    "bad release": bad_release,
}


@contextlib.contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A small file system of its own, which can be made to stand still."""
    image, mounted = folder / "disk.img", folder / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(DISK_MIB * 2**20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def impossible() -> dict[str, str]:
    """Faults that cannot be done here, and why."""
    lacking = {}
    programs = {"slow disk": ("fsfreeze", "mkfs.ext4", "mount"), "partition": ("iptables",)}
    for name, needed in programs.items():
        if missing := [program for program in needed if shutil.which(program) is None]:
            lacking[name] = f"{', '.join(missing)}: not installed"
    if os.geteuid() != 0:
        lacking |= dict.fromkeys(("out of memory", "slow disk", "partition"), "needs root")
    return lacking


def _send_much(port: int) -> None:
    headers = {"content-type": "application/x-npy"}
    with contextlib.suppress(httpx.TransportError):
        httpx.post(f"http://127.0.0.1:{port}/predict", content=os.urandom(SENT), headers=headers, timeout=10)


def _remove(group: Path) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.05)
