"""What a supervisor does next: a state machine without clocks, processes or files.

    WAITING ──start──> RUNNING ──all ended with 0──> OVER (0)
       ^                  │ asked to stop ─> SAVING ──> OVER (75)
       │                  │ nobody reports ─> STACKS ─┐
       └──all are gone── ENDING <──one was lost───────┘  ──wrong input──> OVER (2), no restart left ──> OVER (1)

`advance` takes what is seen and gives the next state and the orders on the way to it.
"""

import signal
from dataclasses import dataclass, replace
from enum import Enum
from math import inf

from pnol_jax.training.interrupt import RESUME_ME

WRONG_INPUT = 2
LOST = 1  # launch's own status when it gives up


class Phase(Enum):
    """What is going on."""

    WAITING = "waiting"
    RUNNING = "running"
    STACKS = "stacks"
    ENDING = "ending"
    SAVING = "saving"
    OVER = "over"


@dataclass(frozen=True)
class Policy:
    """How patient the supervisor is, in seconds, and how often it tries again."""

    restarts: int = 3  # without progress in between
    first_delay: float = 1.0  # before the first restart; each further one waits twice as long
    longest_delay: float = 60.0
    grace: float = 5.0  # from SIGTERM to SIGKILL, for those that are left by a lost one
    save: float = 600.0  # the same, for those that were asked to stop and save
    hang: float = 600.0  # without a report, once steps are done
    begin: float = 3600.0  # without a first report: reading data, compiling; or once a worker is done, for the others
    stacks: float = 2.0  # for writing where each thread stands

    def delay(self, restarts: int) -> float:
        """Seconds before restart number `restarts` (from 0)."""
        return min(self.longest_delay, self.first_delay * 2.0 ** min(restarts, 60))


@dataclass(frozen=True)
class Seen:
    """What is known at a moment; a status is None while the worker runs, and -N if signal N ended it."""

    now: float
    statuses: tuple[int | None, ...] = ()
    names: tuple[str, ...] = ()  # of the workers
    stops: int = 0  # how often somebody asked to stop
    checkpoint: int | None = None  # the newest step that is saved
    silent: float = 0.0  # since the last report of any process
    step: int | None = None  # the furthest that any process reported since the start
    reporting: bool = True  # false once a process has reported for the last time
    stands: str = ""  # who stands at which step

    @property
    def gone(self) -> bool:
        """Whether no worker runs."""
        return None not in self.statuses


@dataclass(frozen=True)
class Start:
    """Start the workers, without those that were lost where the job is elastic."""

    lost: tuple[int, ...]


@dataclass(frozen=True)
class Send:
    """Send a signal to all workers that run."""

    signal: signal.Signals


@dataclass(frozen=True)
class Note:
    """Something happened: a line of launch.jsonl."""

    event: str
    why: str = ""
    lost: tuple[int, ...] = ()
    step: int | None = None
    delay: float | None = None


Order = Start | Send | Note
Orders = tuple[Order, ...]


@dataclass(frozen=True)
class State:
    """Where the supervisor is; it begins by starting the workers."""

    phase: Phase = Phase.WAITING
    until: float = -inf  # when the patience of this phase ends
    restarts: int = 0  # since the last progress
    checkpoint: int | None = None  # the newest one when the workers were started
    stepping: bool = False  # a step was reported since the start
    lost: tuple[int, ...] = ()
    refused: bool = False  # a worker found its input wrong
    status: int = 0  # the supervisor's own, when it is over


def advance(state: State, seen: Seen, policy: Policy) -> tuple[State, Orders]:
    """The next state, and what to do on the way there, in order."""
    return _PHASES[state.phase](state, seen, policy)


def _waiting(state: State, seen: Seen, _: Policy) -> tuple[State, Orders]:
    if seen.stops:
        return _over(state, RESUME_ME, "stopped")
    if seen.now < state.until:
        return state, ()
    began = replace(state, phase=Phase.RUNNING, checkpoint=seen.checkpoint, stepping=False, lost=(), refused=False)
    return began, (Start(state.lost), Note("started", step=seen.checkpoint))


def _running(state: State, seen: Seen, policy: Policy) -> tuple[State, Orders]:
    if seen.stops or RESUME_ME in seen.statuses:
        saving = replace(state, phase=Phase.SAVING, until=seen.now + policy.save)
        return saving, (Send(signal.SIGTERM), Note("stopping", step=seen.step))
    if not seen.statuses or any(seen.statuses):
        return _lose(state, seen, policy)
    if seen.gone:
        return _over(state, 0, "finished")
    if seen.silent > _patience(seen, policy):
        why = f"no report for {seen.silent:.0f} s: {seen.stands or 'no process has done a step'}"
        stacks = replace(state, phase=Phase.STACKS, until=seen.now + policy.stacks)
        return stacks, (Send(signal.SIGUSR2), Note("hung", why, step=seen.step))
    if seen.step is not None and not state.stepping:
        return replace(state, stepping=True), (Note("stepping", step=seen.step),)
    return state, ()


def _patience(seen: Seen, policy: Policy) -> float:
    """How long nothing may be heard: after the last report as long as work goes on, but not once a worker has ended."""
    if not seen.reporting and 0 not in seen.statuses:
        return inf
    return policy.hang if seen.reporting and seen.step is not None else policy.begin


def _lose(state: State, seen: Seen, policy: Policy) -> tuple[State, Orders]:
    lost = culprits(seen.statuses)
    names = seen.names or tuple(f"process {index}" for index in range(len(seen.statuses)))
    why = ", ".join(f"{names[index]} {ended(seen.statuses[index])}" for index in lost) or "nothing could be started"
    return _end(replace(state, lost=lost), seen, policy, Note("lost", why, lost, seen.step))


def _end(state: State, seen: Seen, policy: Policy, *notes: Order) -> tuple[State, Orders]:
    ending = replace(state, phase=Phase.ENDING, until=seen.now + policy.grace)
    return ending, (*notes, Send(signal.SIGTERM))


def _stacks(state: State, seen: Seen, policy: Policy) -> tuple[State, Orders]:
    return (state, ()) if seen.now < state.until and not seen.gone else _end(state, seen, policy)


def _ending(state: State, seen: Seen, policy: Policy) -> tuple[State, Orders]:
    state = replace(state, refused=state.refused or WRONG_INPUT in seen.statuses)
    if not seen.gone:
        return _kill_if_late(state, seen, policy)
    if state.refused:
        return _over(state, WRONG_INPUT, "refused")
    if seen.stops:
        return _over(state, RESUME_ME, "stopped")
    progress = (seen.checkpoint or 0) > (state.checkpoint or 0)
    restarts = 0 if progress else state.restarts
    if restarts >= policy.restarts:
        return _over(state, LOST, "given up")
    delay = policy.delay(restarts)
    waiting = replace(state, phase=Phase.WAITING, until=seen.now + delay, restarts=restarts + 1)
    return waiting, (Note("waiting", step=seen.checkpoint, delay=delay),)


def _saving(state: State, seen: Seen, policy: Policy) -> tuple[State, Orders]:
    if not seen.gone:
        return _kill_if_late(state, seen, policy)
    if WRONG_INPUT in seen.statuses:
        return _over(state, WRONG_INPUT, "refused")
    return _over(state, RESUME_ME if any(seen.statuses) else 0, "stopped" if any(seen.statuses) else "finished")


def _kill_if_late(state: State, seen: Seen, policy: Policy) -> tuple[State, Orders]:
    if seen.now < state.until and seen.stops < 2:
        return state, ()
    return replace(state, until=seen.now + policy.grace), (Send(signal.SIGKILL),)


def _over(state: State, status: int, event: str) -> tuple[State, Orders]:
    return replace(state, phase=Phase.OVER, status=status), (Note(event),)


def _stay(state: State, _: Seen, __: Policy) -> tuple[State, Orders]:
    return state, ()


_PHASES = {
    Phase.WAITING: _waiting,
    Phase.RUNNING: _running,
    Phase.STACKS: _stacks,
    Phase.ENDING: _ending,
    Phase.SAVING: _saving,
    Phase.OVER: _stay,
}


def culprits(statuses: tuple[int | None, ...]) -> tuple[int, ...]:
    """Whose end was the cause where several ended between two looks.

    A wrong input is; then a signal from outside; then an error, since the peers of a lost process get one too; at
    last SIGABRT, by which JAX ends a process that hears of a lost peer.
    """
    for kind in (_refused, _killed, _failed):
        found = tuple(index for index, status in enumerate(statuses) if status and kind(status))
        if found:
            return found
    return tuple(index for index, status in enumerate(statuses) if status)


def _refused(status: int) -> bool:
    return status == WRONG_INPUT


def _killed(status: int) -> bool:
    return status < 0 and status != -signal.SIGABRT


def _failed(status: int) -> bool:
    return status > 0


def ended(status: int | None) -> str:
    """A status in words; ssh, srun and mpirun say 128 + N where signal N ended what they ran."""
    known = {int(number): number.name for number in signal.Signals}
    if status is not None and status < 0:
        return f"ended by {known.get(-status, f'signal {-status}')}"
    by = known.get(status - 128) if status is not None and status > 128 else None
    return f"ended with status {status}" + (f" ({by})" if by else "")
