"""The loop around the state machine: look, decide, carry out."""

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Self

from experiments.supervision.events import FILE, Events
from experiments.supervision.machine import Note, Order, Phase, Policy, Seen, Send, Start, State, advance
from experiments.supervision.sites import Site, log_file
from experiments.supervision.terminal import Terminal
from experiments.supervision.watch import Heard, Watch
from experiments.supervision.workers import Worker

LOOK_SECONDS = 0.05


def supervise(
    site: Site,
    command: Callable[[int | None], Sequence[str]],
    folder: Path,
    policy: Policy | None = None,
    events: str = FILE,
) -> int:
    """Run a job to its end; the exit status of it.

    Args:
        site: where the workers are started.
        command: what each process runs, given the newest checkpoint's step (None: there is none, begin anew).
        folder: the run's; its `checkpoints/` are the progress, `logs/` the output, `launch.jsonl` the events.
        policy: how patient to be.
        events: the name of the events' file.

    Returns:
        0 all done; 75 stopped as asked, and to be resumed; 2 a wrong input; 1 lost too often.

    Raises:
        InputError: another supervisor works in the folder.
    """
    with Events(folder, events) as log, Terminal(folder) as terminal, Stops() as stops:
        job = _Job(site, command, folder, log, terminal)
        try:
            return job.run(policy or Policy(), stops)
        finally:
            job.close()


class _Job:
    """The workers of a job, and what is seen of them."""

    def __init__(
        self,
        site: Site,
        command: Callable[[int | None], Sequence[str]],
        folder: Path,
        log: Events,
        terminal: Terminal,
    ) -> None:
        self._site, self._command, self._folder = site, command, folder
        self._log, self._terminal = log, terminal
        self._watch = Watch(folder)
        self._workers: list[Worker] = []

    def run(self, policy: Policy, stops: "Stops") -> int:
        state = State()
        while state.phase is not Phase.OVER:
            heard = self._watch.look(time.monotonic())
            self._terminal.show(heard)
            state, orders = advance(state, self._seen(state, heard, stops.count), policy)
            for order in orders:
                self._carry_out(order)
            time.sleep(LOOK_SECONDS)
        return state.status

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def _seen(self, state: State, heard: Heard, stops: int) -> Seen:
        running = state.phase is Phase.RUNNING
        return Seen(
            now=time.monotonic(),
            statuses=tuple(worker.status() for worker in self._workers),
            names=tuple(worker.name for worker in self._workers),
            stops=stops,
            checkpoint=state.checkpoint if running else newest_checkpoint(self._folder),
            silent=heard.silent,
            step=heard.step,
            reporting=heard.reporting,
            stands=heard.stands,
        )

    def _carry_out(self, order: Order) -> None:
        if isinstance(order, Start):
            self._start(order)
        elif isinstance(order, Send):
            for worker in self._workers:
                worker.send(order.signal)
        else:
            self._note(order)

    def _start(self, order: Start) -> None:
        self.close()
        self._watch.forget()
        command = self._command(newest_checkpoint(self._folder))
        self._workers, processes = self._site.start(command, self._folder, order.lost)
        self._watch.begin(processes, time.monotonic())
        if processes:
            self._terminal.follow(log_file(self._folder, processes[0]))

    def _note(self, note: Note) -> None:
        started = note.event == "started"
        more = {"pids": [worker.pid for worker in self._workers]} if started else {}
        self._log.write(note, **more)
        self._terminal.note(note)
        for index in note.lost:
            self._terminal.lost(self._workers[index].log)


class Stops:
    """While entered, counts the signals that ask to stop instead of obeying them.

    SIGUSR1 is SLURM's notice before the end; SIGHUP comes when the terminal is closed, unless nohup keeps it away.
    """

    def __init__(self) -> None:
        self.count = 0
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        hangup = () if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (signal.SIGHUP,)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, *hangup):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _note(self, number: int, _: FrameType | None) -> None:
        self.count += 1


def newest_checkpoint(folder: Path) -> int | None:
    """The newest step that is saved whole in a run's folder."""
    steps = [int(path.name) for path in (folder / "checkpoints").glob("[0-9]*") if path.name.isdigit()]
    return max(steps, default=None)
