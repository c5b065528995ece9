"""A worker for tests of the supervisor, quick to start: counts steps, saves, resumes, or misbehaves.

`stand_in.py FOLDER STEPS [--resume STEP] [--at STEP:PROCESS:DEED ...]`; a deed is done once in the life of
the folder, and is one of kill (SIGKILL), hang, fail (status 1), refuse (status 2), orphan
(starts a child that would stay).
"""

import argparse
import faulthandler
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pnol_jax.sharding import lifeline
from pnol_jax.sharding.heartbeat import Heartbeat
from pnol_jax.sharding.places import find_place

EVERY = 5  # steps from one checkpoint to the next
SECONDS = 0.02  # a step


def main() -> int:
    asked = _parse()
    place = find_place(os.environ)
    index = place.index
    faulthandler.register(signal.SIGUSR2, file=2, all_threads=True)
    if place.found != "openmpi" or index == 0:
        lifeline.hold()
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    step = asked.resume
    print(f"process {index} of {place.count} begins at step {step}", flush=True)
    with Heartbeat(asked.folder, index) as heartbeat:
        while step < asked.steps and not stop:
            time.sleep(SECONDS)
            step += 1
            for at, process, deed in (words.split(":") for words in asked.at):
                if step >= int(at) and index == int(process) and _first_time(asked.folder, f"{at}-{process}-{deed}"):
                    DEEDS[deed]()
            heartbeat.beat(step)
            if index == 0 and step % EVERY == 0:
                _save(asked.folder, step)
    if stop and index == 0:
        _save(asked.folder, step)
        print(f"saved as asked at step {step}", flush=True)
    return 75 if step < asked.steps else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--resume", type=int, default=0)
    parser.add_argument("--at", action="append", default=[])
    return parser.parse_args()


def _save(folder: Path, step: int) -> None:
    (folder / "checkpoints" / str(step)).mkdir(parents=True, exist_ok=True)


def _first_time(folder: Path, deed: str) -> bool:
    try:
        (folder / deed).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stand_still() -> None:
    while True:
        time.sleep(1)


def _orphan() -> None:
    child = subprocess.Popen(["sleep", "600"])
    print(f"child {child.pid}", flush=True)


DEEDS = {
    "kill": _kill,
    "hang": _stand_still,
    "fail": lambda: sys.exit(1),
    "refuse": lambda: sys.exit(2),
    "orphan": _orphan,
}

if __name__ == "__main__":
    sys.exit(main())
