"""What is wrong, in one sentence each, from what the processes found: got, expected, and what to do."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from experiments.diagnosis.report import Report, in_words
from pnol_jax.sharding.agreement import verdict

OPEN_FILES = 4096
FREE_SHARE, FREE_BYTES = 0.05, 2 * 2**30
SHARED_MEMORY = 512 * 2**20
SKEW = 1.0  # seconds
SYNC = 1.0
SHARED_KINDS = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "cifs", "smb", "9p", "fuse", "afs", "panfs")

Reports = Sequence[Report]


def findings(reports: Reports) -> list[str]:
    """All that is wrong; a sentence that holds for several processes of a host stands once."""
    alone = [sentence for check in EACH for report in reports for sentence in check(report)]
    return list(dict.fromkeys(alone + [sentence for check in TOGETHER for sentence in check(reports)]))


def _error(report: Report) -> Iterator[str]:
    if report.error:
        yield f"process {report.index} on {report.machine.host}: {report.error}."


def _open_files(report: Report) -> Iterator[str]:
    machine = report.machine
    if 0 <= machine.open_files < OPEN_FILES:
        yield (
            f"{machine.host}: a process may open {machine.open_files} files, expected at least {OPEN_FILES}: "
            "ulimit -n 65536 before the start."
        )


def _disk(report: Report) -> Iterator[str]:
    disk, host = report.disk, report.machine.host
    if disk.trouble:
        yield f"{host}: the run's folder ({disk.kind}): {disk.trouble}."
    if disk.free < max(FREE_BYTES, FREE_SHARE * disk.total):
        yield (
            f"{host}: the run's file system has {in_words(disk.free)} of {in_words(disk.total)} free, "
            f"expected at least {in_words(FREE_BYTES)} and {100 * FREE_SHARE:g}%: make room or take another."
        )
    if disk.sync_seconds > SYNC:
        yield (
            f"{host}: writing a small file for good took {disk.sync_seconds:.1f} s on {disk.kind}, expected less than "
            f"{SYNC:g} s: checkpoints will stall."
        )


def _shared_memory(report: Report) -> Iterator[str]:
    machine = report.machine
    if machine.shared_memory < SHARED_MEMORY:
        yield (
            f"{machine.host}: /dev/shm has {in_words(machine.shared_memory)}, expected at least "
            f"{in_words(SHARED_MEMORY)} for NCCL and the data's worker processes: in a container --shm-size=1g."
        )


def _hidden_gpu(report: Report) -> Iterator[str]:
    machine = report.machine
    if not machine.nvidia or report.devices is None or any(device.platform != "cpu" for device in report.devices):
        return
    platforms = machine.variables.get("JAX_PLATFORMS", "")
    has = f"{machine.host} has an NVIDIA driver, but "
    if platforms and not {"cuda", "gpu"} & set(platforms.split(",")):
        yield f"{has}JAX_PLATFORMS={platforms} hides its GPU: unset it."
    elif machine.variables.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        yield f"{has}CUDA_VISIBLE_DEVICES hides its GPU: unset it."
    elif not machine.cuda:
        yield f"{has}JAX is installed for the CPU only: make install CUDA=12."
    else:
        yield f"{has}JAX found no GPU: see the log for what the CUDA plugin said."


def _proxy(report: Report) -> Iterator[str]:
    names = [name for name in ("http_proxy", "https_proxy") if report.machine.variables.get(name)]
    if names and report.count > 1 and report.devices is None:
        yield f"{report.machine.host}: {names[0]} is set and may keep the processes from meeting: set no_proxy."


def _missing(reports: Reports) -> Iterator[str]:
    count = max((report.count for report in reports), default=0)
    missing = sorted(set(range(count)) - {report.index for report in reports})
    if not reports:
        yield "no process reported: see the log."
    elif missing:
        yield f"process {', '.join(map(str, missing))} of {count} did not report: see its log."


def _differences(reports: Reports) -> Iterator[str]:
    sentence = verdict([{"host": report.machine.host, "facts": report.facts} for report in reports]) if reports else ""
    if sentence:
        yield sentence + "."


def _clocks(reports: Reports) -> Iterator[str]:
    clocks = [(report.clock, report.machine.host) for report in reports if report.clock is not None]
    if clocks and max(clocks)[0] - min(clocks)[0] > SKEW:
        yield (
            f"the clocks of {max(clocks)[1]} and {min(clocks)[1]} differ by {max(clocks)[0] - min(clocks)[0]:.1f} s, "
            f"expected less than {SKEW:g}: is a time service running?"
        )


def _folder(reports: Reports) -> Iterator[str]:
    everyone = {report.index for report in reports}
    for report in reports:
        unseen = sorted(everyone - set(report.sees)) if report.sees is not None else []
        if unseen:
            yield (
                f"process {report.index} on {report.machine.host} does not see what process {unseen[0]} wrote in the "
                f"run's folder ({report.disk.kind}), expected a file system that all hosts share."
            )


def _devices(reports: Reports) -> Iterator[str]:
    kinds = [Counter(device.kind for device in report.devices) for report in reports if report.devices is not None]
    if any(kind != kinds[0] for kind in kinds):
        had = "; ".join(f"process {report.index}: {_listed(report)}" for report in reports)
        yield f"the processes have different devices ({had}), expected the same number of one kind in each."


def _cores(reports: Reports) -> Iterator[str]:
    for host, count in Counter(report.machine.host for report in reports).items():
        cores = max(report.machine.cores for report in reports if report.machine.host == host)
        if count > cores:
            yield f"{host}: {count} processes share {cores} cores, expected at most one process a core."


def _listed(report: Report) -> str:
    kinds = Counter(device.kind for device in report.devices or [])
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "unknown"


EACH: tuple[Callable[[Report], Iterator[str]], ...] = (
    _error,
    _open_files,
    _disk,
    _shared_memory,
    _hidden_gpu,
    _proxy,
)
TOGETHER: tuple[Callable[[Reports], Iterator[str]], ...] = (
    _missing,
    _differences,
    _clocks,
    _folder,
    _devices,
    _cores,
)
