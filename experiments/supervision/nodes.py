"""What the environment says of a cluster: which one this is, its nodes, and which of them are up."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from pnol_jax.errors import InputError

Environment = Mapping[str, str]

# Files in which other batch systems list the nodes of a job, one word a process.
NODE_FILES = ("PBS_NODEFILE", "LSB_DJOB_HOSTFILE", "PE_HOSTFILE")
UNUSABLE = {"down", "fail", "drain", "unknown", "error", "future", "not_responding", "invalid_reg"} | {
    "powering_down",
    "powered_down",
    "power_down",
    "power_up",
    "powering_up",
    "reboot_issued",
    "reboot_requested",
}


def find_cluster(environment: Environment) -> str:
    """The cluster whose allocation this is in: "slurm", "mpi", "kubernetes" or "local"."""
    if {"JOB_COMPLETION_INDEX", "PNOL_NODES"} <= environment.keys():
        return "kubernetes"
    if "SLURM_JOB_ID" in environment and shutil.which("srun"):
        return "slurm"
    if any(name in environment for name in NODE_FILES) and shutil.which("mpirun"):
        return "mpi"
    return "local"


def check_once(environment: Environment) -> None:
    """Refuse to be one of many: the launcher starts the processes itself.

    Raises:
        InputError: this is a task of srun or mpirun that is not the first.
    """
    for name in ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
        if environment.get(name, "0") != "0":
            raise InputError(
                f"{name}={environment[name]}: launch runs once per job and starts the processes itself, expected no "
                "srun or mpirun around it"
            )


def find_nodes(cluster: str, environment: Environment = os.environ) -> list[str] | None:
    """The nodes of the allocation, in order; None where nothing says so."""
    if cluster == "slurm":
        return _run(["scontrol", "show", "hostnames", environment["SLURM_JOB_NODELIST"]]).split()
    files = [environment[name] for name in NODE_FILES if name in environment]
    if not files:
        return None
    lines = Path(files[0]).read_text(encoding="utf-8").splitlines()
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def alive(using: Sequence[str]) -> list[str]:
    """Those of SLURM's nodes that are up and still the job's; all of them where SLURM is not there to be asked.

    A node that fails is taken from its job for good, even if it is back a moment later.
    """
    if not shutil.which("sinfo") or "SLURM_JOB_ID" not in os.environ:
        return list(using)
    wide = "NodeList:128,StateComplete:128"  # the short forms hide that a node which cleans up is down
    states = _run(["sinfo", "--noheader", "--Node", "--nodes", ",".join(using), "--Format", wide])
    left = _run(["squeue", "--noheader", "--job", os.environ["SLURM_JOB_ID"], "--format", "%N"]).strip()
    ours = _run(["scontrol", "show", "hostnames", left]).split()
    return [node for node in up(using, states) if node in ours]


def up(using: Sequence[str], said: str) -> list[str]:
    """Those nodes that sinfo's lines "NODE STATE+FLAG+FLAG" call usable."""
    states = {words[0]: set(words[1].split("+")) for line in said.splitlines() if len(words := line.split()) > 1}
    return [node for node in using if not states.get(node, {"unknown"}) & UNUSABLE]


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"{' '.join(command)}: {done.stderr.strip() or f'status {done.returncode}'}")
    return done.stdout
