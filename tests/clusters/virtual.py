"""A real SLURM of two nodes on this host: munged, slurmctld and two slurmd of its own, on 127.0.0.1 alone.

Nothing of the machine is changed: key, configuration and state lie in one folder, and the nodes' names are known only
inside the mount namespace in which the two slurmd run. What was started is ended by its process id.
"""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from pnol_jax.ports import free_port
from tests.processes import end, until

NODES = ("node-a", "node-b")
PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "scontrol", "unshare")

# What is put back into the queue waits until the credentials of its first start have expired: 120 s, here the least.
CONF = """
ClusterName=virtual
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=6
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={controller}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdSpoolDir={folder}/spool-%n
StateSaveLocation={folder}/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0
ReturnToService=2
SlurmdTimeout=20
KillWait=60
MinJobAge=600
InactiveLimit=0
{nodes}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeAddr=127.0.0.1 NodeHostname={name} Port={port} CPUs=2 RealMemory=1000 State=UNKNOWN"


def missing() -> str | None:
    """Why no SLURM can be started here; None if one can."""
    if os.geteuid() != 0:
        return "a SLURM of its own needs root"
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    if absent:
        return f"not installed: {', '.join(absent)} (make test-clusters installs them on Debian)"
    return None


class Slurm:
    """The daemons, while they run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = _write(folder)  # clients find it by the variable SLURM_CONF
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._others = [_munged(folder), _start(folder, "slurmctld", "-D", "-f", str(self.conf))]

    def start(self, node: str) -> None:
        """Start a node, or one that was lost again."""
        script = 'mount --bind "$1" /etc/hosts && shift && exec "$@"'
        inside = ["sh", "-c", script, "sh", f"{self.folder}/hosts", "slurmd", "-D", "-f", str(self.conf), "-N", node]
        self.nodes[node] = _start(self.folder, "unshare", "--mount", "--", *inside)

    def until_idle(self) -> None:
        """Wait until no job is on any node."""
        until(lambda: _sinfo(self.conf).count("idle") == len(NODES), lambda: _said(self.folder), seconds=60)

    def lose(self, node: str) -> None:
        """Kill all that runs on a node, as when its power fails."""
        self.nodes[node].kill()
        self.nodes[node].wait()
        for keeper in self._keepers(node):
            for process in [keeper, *keeper.children(recursive=True)]:
                process.kill()

    def _keepers(self, node: str) -> list[psutil.Process]:
        """The processes that keep the steps of a node: each has a socket in its spool folder."""
        mark = f"{self.folder}/spool-{node}/"
        keepers = [each for each in psutil.process_iter(["name"]) if each.info["name"] == "slurmstepd"]
        return [each for each in keepers if any(mark in str(c.laddr) for c in each.net_connections("unix"))]

    def close(self) -> None:
        """End everything."""
        for process in [*self.nodes.values(), *reversed(self._others)]:
            end(process)


@contextlib.contextmanager
def slurm() -> Iterator[Slurm]:
    """Start it, with all nodes idle; afterwards nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o755)  # munged refuses a socket that others cannot reach
    try:
        with contextlib.closing(Slurm(folder)) as started:
            for node in NODES:
                started.start(node)
            started.until_idle()
            yield started
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path) -> Path:
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    (folder / "hosts").write_text(Path("/etc/hosts").read_text() + f"\n127.0.0.1 {' '.join(NODES)}\n")
    controller = free_port(1 + len(NODES))
    nodes = "\n".join(NODE.format(name=name, port=port) for port, name in enumerate(NODES, controller + 1))
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=socket.gethostname(), folder=folder, controller=controller, nodes=nodes))
    (folder / "cgroup.conf").write_text("")
    return conf


def _munged(folder: Path) -> subprocess.Popen[bytes]:
    files = {name: f"{folder}/munge.{name}" for name in ("socket", "pid", "log", "seed")}
    process = _start(
        folder,
        "munged",
        "--foreground",
        "--force",
        f"--key-file={folder}/munge.key",
        f"--socket={files['socket']}",
        f"--pid-file={files['pid']}",
        f"--log-file={files['log']}",
        f"--seed-file={files['seed']}",
    )
    until(lambda: Path(files["socket"]).exists(), lambda: _said(folder), seconds=60)
    return process


def _start(folder: Path, program: str, *words: str) -> subprocess.Popen[bytes]:
    with open(folder / "started.log", "ab") as log:
        return subprocess.Popen([program, *words], stdout=log, stderr=log, start_new_session=True)


def _sinfo(conf: Path) -> list[str]:
    command = ["sinfo", "--noheader", "--Node", "--format=%T"]
    environment = os.environ | {"SLURM_CONF": str(conf)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.split()


def _said(folder: Path) -> str:
    """The ends of all logs."""
    return "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*.log")))
