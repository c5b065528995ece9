"""One process of the doctor: `python -m experiments.diagnosis.probe FOLDER`. Leaves what it found in the folder."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import msgspec

import experiments
from experiments.diagnosis import trials
from experiments.diagnosis.machine import look_at_disk, look_at_machine
from experiments.diagnosis.report import Report, write_report
from experiments.runs import commit
from pnol_jax.sharding import processes
from pnol_jax.sharding.agreement import facts
from pnol_jax.sharding.places import find_place

PATIENCE = 60  # seconds


def main(folder: Path) -> None:
    """Look around alone, then try things together; how far it came is in the folder, however it ends."""
    place = find_place(os.environ)
    report = Report(
        index=place.index,
        count=place.count,
        found=place.found,
        machine=look_at_machine(),
        disk=look_at_disk(folder),
        facts=facts(folders=[Path(experiments.__file__).parent]) | {"commit": str(commit())},
        error="did not meet the other processes",
    )
    write_report(folder, report)
    with processes.together(start_seconds=PATIENCE):
        for doing, attempt in TRIALS.items():
            report = msgspec.structs.replace(report, error=f"failed or did not end while {doing}")
            write_report(folder, report)
            report = msgspec.structs.replace(report, **attempt(folder))
        write_report(folder, msgspec.structs.replace(report, error=""))


def _look_for_others(folder: Path) -> dict[str, Any]:
    processes.barrier("written", PATIENCE)
    return {"clock": time.time(), "sees": sorted(int(path.stem[7:]) for path in folder.glob("report-*.json"))}


def _list_devices(_: Path) -> dict[str, Any]:
    return {"devices": trials.devices()}


def _add_up(_: Path) -> dict[str, Any]:
    within = trials.all_reduce(jax.local_devices())
    return {"within": within, "across": trials.all_reduce(jax.devices()) if jax.process_count() > 1 else None}


def _save(folder: Path) -> dict[str, Any]:
    return {"saving": trials.save_and_restore(folder / "checkpoint")}


TRIALS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "looking for the others' files": _look_for_others,
    "asking JAX for devices": _list_devices,
    "adding up over the devices": _add_up,
    "writing and reading a checkpoint": _save,
}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
