"""What was found, as a table for a person."""

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.table import Table

from experiments.diagnosis.findings import SHARED_KINDS
from experiments.diagnosis.report import Reduction, Report, in_words
from pnol_jax.sharding.agreement import PACKAGES

Rows = Iterator[tuple[str, str]]


def make_table(reports: Sequence[Report], where: str) -> Table:
    """All that the processes found; what is the same on every host stands once."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    first = reports[0]
    processes = Counter(report.machine.host for report in reports)
    table.add_row("where", where)
    table.add_row(
        "processes", f"{first.count} ({', '.join(f'{count} on {host}' for host, count in processes.items())})"
    )
    for rows in (_machine(first), _devices(reports), _links(reports), _software(first), _folder(reports)):
        for name, text in rows:
            table.add_row(name, text)
    return table


def _machine(report: Report) -> Rows:
    machine = report.machine
    yield "machine", f"{machine.system}, {machine.cores} cores, {in_words(machine.memory)}"
    yield "limits", f"{machine.open_files} open files, {in_words(machine.shared_memory)} in /dev/shm"
    if machine.variables:
        yield "variables", " ".join(f"{name}={value}" for name, value in machine.variables.items())


def _devices(reports: Sequence[Report]) -> Rows:
    devices = Counter(device for report in reports for device in report.devices or [])
    for device, count in devices.items():
        memory = in_words(device.memory) if device.memory else "memory not told"
        yield "devices", f"{count} {device.kind} ({device.platform}), {memory}"


def _links(reports: Sequence[Report]) -> Rows:
    """How the devices are joined, as far as it shows: JAX names no links, so they are measured."""
    first = reports[0]
    by = "gloo over TCP" if all(device.platform == "cpu" for device in first.devices or []) else "NCCL"
    if first.within:
        yield "all-reduce in a process", _reduction(first.within)
    if first.across:
        yield "all-reduce across processes", f"{_reduction(first.across)}, by {by}"
    if not (first.within or first.across):
        yield "all-reduce", "one device, nothing to add up"


def _software(report: Report) -> Rows:
    versions = [f"{name} {report.facts[name]}" for name in ("python", *PACKAGES) if report.facts[name] != "(absent)"]
    yield "versions", ", ".join(versions)
    yield "commit", report.facts["commit"]


def _folder(reports: Sequence[Report]) -> Rows:
    disk = reports[0].disk
    hosts = {report.machine.host for report in reports}
    seen = all(report.sees and len(report.sees) == len(reports) for report in reports)
    shared = "shared by the hosts" if len(hosts) > 1 and seen else ("shared" if _is_shared(disk.kind) else "local")
    works = disk.trouble or f"rename and fsync work, {1000 * disk.sync_seconds:.1f} ms for a file"
    yield "run's folder", f"{disk.kind} ({shared}), {in_words(disk.free)} of {in_words(disk.total)} free; {works}"
    saving = reports[0].saving
    if saving:
        rates = [saving.size / seconds / 2**20 for seconds in (saving.write_seconds, saving.read_seconds)]
        yield (
            "checkpoint",
            (
                f"{in_words(saving.size)} written in {saving.write_seconds:.2f} s ({rates[0]:.0f} MiB/s), "
                f"read in {saving.read_seconds:.2f} s ({rates[1]:.0f} MiB/s), equal"
            ),
        )


def _is_shared(kind: str) -> bool:
    return kind.startswith(SHARED_KINDS)


def _reduction(found: Reduction) -> str:
    return (
        f"{in_words(found.size)} on each of {found.devices} devices in {1000 * found.seconds:.2f} ms, "
        f"{found.rate / 2**20:.0f} MiB/s"
    )
