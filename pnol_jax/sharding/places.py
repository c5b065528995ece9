"""Where this process runs: which of how many processes it is, read from what a launcher left in the environment.

| found | by |
|---|---|
| `launch` | `experiments.launch`: PNOL_PROCESS, PNOL_PROCESSES, PNOL_COORDINATOR |
| `slurm` | a step of `srun` |
| `openmpi` | `mpirun` of Open MPI 4 or 5 |
| `kubernetes` | a pod of an indexed Job or a JobSet; the manifest sets PNOL_NODES, the pods, and the coordinator |
| `alone` | nothing of these |

PNOL_COORDINATOR (or JAX_COORDINATOR_ADDRESS) names the address where the processes meet; where it is set it goes before
the one that SLURM's and Open MPI's variables lead to.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from pnol_jax.errors import InputError

Environment = Mapping[str, str]


@dataclass(frozen=True)
class Place:
    """Process `index` of `count`; `local_index` of the `local_count` on its host."""

    index: int = 0
    count: int = 1
    local_index: int = 0
    local_count: int = 1
    found: str = "alone"
    coordinator: str = ""  # host:port where the processes meet; empty for one process

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InputError(
                f"processes ({self.found}): got index {self.index} of {self.count}, expected 0 <= index < count"
            )
        if self.count > 1 and not re.fullmatch(r".+:\d+", self.coordinator):
            raise InputError(
                f"processes ({self.found}): got coordinator {self.coordinator!r} for {self.count} processes, expected "
                "host:port in PNOL_COORDINATOR"
            )


def find_place(environment: Environment) -> Place:
    """Which process this is.

    Raises:
        InputError: a variable is no number, the index is outside the count, or no address to meet at is known.
    """
    for find in (_launch, _kubernetes, _open_mpi, _slurm):
        place = find(environment)
        if place is not None:
            return place
    return Place()


def share_of_devices(visible: int, place: Place) -> list[int] | None:
    """The devices that are a process' own where a host's processes see the same ones; None: all that it sees."""
    each = visible // place.local_count
    if place.local_count == 1 or each == 0:
        return None
    return list(range(place.local_index * each, (place.local_index + 1) * each))


def _launch(environment: Environment) -> Place | None:
    if "PNOL_PROCESS" not in environment:
        return None
    return Place(
        index=_number(environment, "PNOL_PROCESS"),
        count=_number(environment, "PNOL_PROCESSES"),
        local_index=_number(environment, "PNOL_LOCAL_PROCESS", 0),
        local_count=_number(environment, "PNOL_LOCAL_PROCESSES", 1),
        found="launch",
        coordinator=_given_coordinator(environment),
    )


def _kubernetes(environment: Environment) -> Place | None:
    """An indexed Job of which the manifest says that its pods belong together."""
    if not {"JOB_COMPLETION_INDEX", "PNOL_NODES"} <= environment.keys():
        return None
    return Place(
        index=_number(environment, "JOB_COMPLETION_INDEX"),
        count=_number(environment, "PNOL_NODES"),
        found="kubernetes",
        coordinator=_given_coordinator(environment),
    )


def _open_mpi(environment: Environment) -> Place | None:
    if not {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"} <= environment.keys():
        return None
    return Place(
        index=_number(environment, "OMPI_COMM_WORLD_RANK"),
        count=_number(environment, "OMPI_COMM_WORLD_SIZE"),
        local_index=_number(environment, "OMPI_COMM_WORLD_LOCAL_RANK", 0),
        local_count=_number(environment, "OMPI_COMM_WORLD_LOCAL_SIZE", 1),
        found="openmpi",
        coordinator=_given_coordinator(environment) or _mpirun(environment),
    )


def _mpirun(environment: Environment) -> str:
    """The host of mpirun, on which rank 0 runs unless a host list says otherwise, and a port of this job."""
    # Open MPI 4: "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"
    uri = environment.get("OMPI_MCA_orte_hnp_uri", "")
    if found := re.match(r"(\d+)\..*?(?:tcp://([^,:]+)|tcp6://\[([^,\]]+))", uri):
        return f"{found[2] or f'[{found[3]}]'}:{_port(found[1])}"
    # Open MPI 5: "prterun-HOST-PID@1"
    if found := re.match(r"[^-]+-(.+)-(\d+)@", environment.get("PMIX_NAMESPACE", "")):
        return f"{found[1]}:{_port(found[0])}"
    return ""


def _slurm(environment: Environment) -> Place | None:
    """A task of a step; the batch script itself has no step's variables and is one process."""
    needed = {"SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}
    if not needed <= environment.keys():
        return None
    job = f"{environment['SLURM_JOB_ID']}.{environment.get('SLURM_STEP_ID', '0')}"
    return Place(
        index=_number(environment, "SLURM_PROCID"),
        count=_number(environment, "SLURM_STEP_NUM_TASKS"),
        local_index=_number(environment, "SLURM_LOCALID", 0),
        local_count=_tasks_of_node(environment),
        found="slurm",
        coordinator=_given_coordinator(environment)
        or f"{_first_host(environment['SLURM_STEP_NODELIST'])}:{_port(job)}",
    )


def _first_host(nodes: str) -> str:
    """The first of "node001", "a1,b2", "node[001-015],x", "node[001,007]-ib"."""
    found = re.match(r"([^\[,]*)(?:\[([^\],-]+)[^\]]*\]([^,]*))?", nodes)
    assert found
    return found[1] + (found[2] or "") + (found[3] or "")


def _tasks_of_node(environment: Environment) -> int:
    """From "2(x3),1", the tasks of each node: how many this node has."""
    counts: list[int] = []
    for tasks, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")):
        counts += [int(tasks)] * int(times or 1)
    node = _number(environment, "SLURM_NODEID", 0)
    return counts[node] if node < len(counts) else 1


def _port(job: str) -> int:
    """A port that all processes of a job find alike, among the last 4096."""
    return 61440 + zlib.crc32(job.encode()) % 4096


def _given_coordinator(environment: Environment) -> str:
    return environment.get("PNOL_COORDINATOR") or environment.get("JAX_COORDINATOR_ADDRESS", "")


def _number(environment: Environment, name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise InputError(f"environment: {name}: got {text!r}, expected a whole number")
    return int(text)
