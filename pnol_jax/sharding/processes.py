"""From one process to a job of many: find the others, meet them, wait for them, leave them.

    with processes.together() as place:  # first of all, before JAX computes anything
        agree(place, facts(config))
        ...

A process that fails inside leaves at once. Left to itself, JAX waits at exit for all other processes, five minutes
where one of them is stuck in a collective with the one that waits.
"""

import contextlib
import faulthandler
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
from jax._src import distributed

from pnol_jax.errors import InputError
from pnol_jax.sharding import lifeline
from pnol_jax.sharding.places import Place, find_place, share_of_devices

HEARTBEAT_SECONDS = 10  # a dead process is found after about nine
START_SECONDS = 300
TOGETHER_SECONDS = 60  # to print what all of them raise
END_SECONDS = 3600  # one process may still write a report while the others have nothing more to do
LOGS = "PNOL_LOGS"  # the folder for each process' own output and last word, where one launcher runs them all
LAST_WORD = "ended-"


class Missing(RuntimeError):
    """Processes that others wait for did not come in time."""


class Common(InputError):
    """What all processes raise alike. They leave together: where process 0 is gone, XLA aborts the others."""


def start(heartbeat_seconds: int = HEARTBEAT_SECONDS, start_seconds: int = START_SECONDS) -> Place:
    """Find where this process runs and meet the others; a second call changes nothing and returns the same.

    Must come before the first computation. SIGUSR2 makes the process print where each of its threads stands.

    Args:
        heartbeat_seconds: after how long without a sign of life a process counts as dead, and its peers end.
        start_seconds: how long to wait for the others.

    Raises:
        InputError: what the environment says is wrong.

    Where the others do not come, XLA aborts the process (SIGABRT).
    """
    place = find_place(os.environ)
    if not distributed.global_state.client:
        _attend(place)
        if place.count > 1:
            _meet(place, heartbeat_seconds, start_seconds)
    return place


@contextlib.contextmanager
def together(heartbeat_seconds: int = HEARTBEAT_SECONDS, start_seconds: int = START_SECONDS) -> Iterator[Place]:
    """`start`, and at the end wait until all have come to theirs.

    An exception ends this process at once: a wrong input with status 2, another with 1.
    """
    place = start(heartbeat_seconds, start_seconds)
    try:
        yield place
    except BaseException as error:
        if place.count == 1:
            raise
        status = _report(error)
        _leave_word(place, status)
        if isinstance(error, Common):
            with contextlib.suppress(jax.errors.JaxRuntimeError, Missing):
                stop(place, TOGETHER_SECONDS)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    stop(place)


def stop(place: Place, seconds: float = END_SECONDS) -> None:
    """Wait until all processes have come here, and leave."""
    if place.count > 1 and distributed.global_state.client is not None:
        barrier("end", seconds)
        jax.distributed.shutdown()  # type: ignore[no-untyped-call]


def barrier(name: str, seconds: float) -> None:
    """Wait until all processes have come to the barrier of this name.

    Raises:
        Missing: some did not come in time; they are named.
    """
    client = distributed.global_state.client
    if client is None:
        return
    try:
        client.wait_at_barrier(f"pnol/{name}", round(1000 * seconds))
    except jax.errors.JaxRuntimeError as error:
        late = re.search(r"timed out task names:\s*((?:\d+\s+)+)", str(error))
        who = f"process {', '.join(late[1].split())} did not come" if late else str(error).splitlines()[0]
        raise Missing(f"barrier {name!r}: {who} within {seconds:g} s") from None


def told(name: str, say: Callable[[], str], seconds: float) -> str:
    """What the first process says, in all of them; they call it together, each time with another name.

    Raises:
        Missing: the first did not say it in time.
    """
    client = distributed.global_state.client
    if client is None:
        return say()
    key = f"pnol/told/{name}"
    if jax.process_index() == 0:
        client.key_value_set(key, say(), allow_overwrite=True)
    try:
        return str(client.blocking_key_value_get(key, round(1000 * seconds)))
    except jax.errors.JaxRuntimeError:
        raise Missing(f"{name}: process 0 did not say it within {seconds:g} s") from None


def _attend(place: Place) -> None:
    """Prepare what a supervisor needs: a log of its own, stacks on demand, an end when the supervisor ends."""
    if folder := os.environ.get(LOGS):
        log = os.open(Path(folder) / f"process-{place.index}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
    faulthandler.register(signal.SIGUSR2, file=2, all_threads=True)
    # mpirun hands its input to rank 0 alone, and ends the others with it.
    if lifeline.VARIABLE in os.environ and not (place.found == "openmpi" and place.index):
        lifeline.hold()


def _meet(place: Place, heartbeat_seconds: int, start_seconds: int) -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # type: ignore[no-untyped-call]
    own = place.coordinator.startswith(("127.0.0.1:", "localhost:"))
    with _said_before(start_seconds, f"{_name(place)} has not met the others at {place.coordinator}"):
        jax.distributed.initialize(
            place.coordinator,
            place.count,
            place.index,
            local_device_ids=share_of_devices(_visible_gpus(), place),
            cluster_detection_method="deactivate",
            initialization_timeout=start_seconds,
            heartbeat_timeout_seconds=heartbeat_seconds,
            coordinator_bind_address=place.coordinator if own else None,
        )


@contextlib.contextmanager
def _said_before(seconds: int, sentence: str) -> Iterator[None]:
    """Say a sentence shortly before the time is over: XLA then aborts the process with a message of its own."""
    timer = threading.Timer(0.9 * seconds, lambda: print(f"{sentence} within {seconds} s", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _name(place: Place) -> str:
    return f"process {place.index} of {place.count} ({place.found})"


def _visible_gpus() -> int:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([name for name in chosen.split(",") if name])
    return len([path for path in Path("/dev").glob("nvidia*") if path.name[6:].isdigit()])


def _leave_word(place: Place, status: int) -> None:
    """Leave the status where a launcher tells only that of one of its processes."""
    if folder := os.environ.get(LOGS):
        (Path(folder) / f"{LAST_WORD}{place.index}").write_text(str(status))


def _report(error: BaseException) -> int:
    """Print what went wrong; the exit status."""
    if isinstance(error, InputError):
        print(f"error: {error}", file=sys.stderr)
        return 2
    if isinstance(error, SystemExit) and isinstance(error.code, int | None):
        return error.code or 0
    traceback.print_exception(error)
    return 1
