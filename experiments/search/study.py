"""A study in its folder: what was asked for, which trials there are, what became of them.

`study.json` what all its trials share; `journal.log` Optuna's journal; `trials/N/` log and, until it is told,
checkpoints of trial N; `searchers/` one locked file for each process that searches. Several processes may share the
folder. A trial that runs in a process that is gone is failed, and asked again with the same values; its training goes
on from its last checkpoint.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from experiments.search.journal import Journal, is_locked, locked
from experiments.search.record import LOCK, Record
from experiments.search.samplers import make_pruner, make_sampler
from experiments.search.space import Space, make_space

JOURNAL = "journal.log"
SEARCHER, AGAIN, ORIGIN, TRIES, SCORES, NOTE = "searcher", "again_of", "origin", "tries", "scores", "note"
MOST_TRIES = 3  # of a trial whose process dies


class Asked(NamedTuple):
    """A trial to be trained. `origin` is the trial that it is again, or itself."""

    number: int
    origin: int
    point: dict[str, Any]


class Study:
    """An open study. `searching` makes this process one of those that search."""

    def __init__(self, folder: Path, record: Record) -> None:
        self.folder, self.record, self.search = folder, record, record.search
        self.space: Space = make_space(record.tree, record.search)
        self.steps = self.space.base().training.steps
        self.optuna = optuna.create_study(
            study_name=record.name,
            storage=JournalStorage(Journal(folder / JOURNAL)),
            directions=["minimize"] * len(self.search.objectives),
            sampler=optuna.samplers.RandomSampler(),
            pruner=make_pruner(self.search, self.steps),
            load_if_exists=True,
        )
        self._me = ""

    @contextmanager
    def searching(self) -> Iterator[None]:
        """Take part. At the end what this process has not told is given up, to be asked again."""
        self._me = uuid.uuid4().hex
        sign = self.folder / "searchers" / self._me
        sign.parent.mkdir(exist_ok=True)
        with locked(sign):
            try:
                yield
            finally:
                with self._alone():
                    for trial in self._running():
                        if trial.user_attrs.get(SEARCHER) == self._me:
                            self._give_up(trial, died=False)
                sign.unlink()

    def ask(self, count: int) -> list[Asked]:
        """Up to `count` trials, fewer where the study has as many as it is to have; first those of processes gone."""
        with self._alone():
            self._give_up_lost()
            return [self._ask_one() for _ in range(min(count, self.left()))]

    def tell(
        self, asked: Asked, values: Sequence[float] | None, state: TrialState, note: str = "", **figures: Any
    ) -> None:
        """Keep what became of a trial."""
        trial = self.trial(asked.number)
        for name, value in (figures | ({NOTE: note} if note else {})).items():
            trial.set_user_attr(name, value)
        self.optuna.tell(asked.number, values if state == TrialState.COMPLETE else None, state)

    def trial(self, number: int) -> optuna.Trial:
        """A running trial, to report to."""
        storage = self.optuna._storage
        return optuna.Trial(self.optuna, storage.get_trial_id_from_study_id_trial_number(self.optuna._study_id, number))

    def trials(self) -> list[FrozenTrial]:
        """All trials but those that were given up and asked again."""
        everything = self.optuna.get_trials(deepcopy=False)
        again = {trial.user_attrs.get(AGAIN) for trial in everything}
        return [one for one in everything if one.number not in again and not _is_empty(one)]

    def finished(self) -> list[FrozenTrial]:
        """Those that came to an end."""
        return [trial for trial in self.trials() if trial.state.is_finished()]

    def left(self) -> int:
        """How many trials are still to be asked."""
        begun = sum(trial.state != TrialState.WAITING for trial in self.trials())
        return max(self.total() - begun, 0)

    def total(self) -> int:
        """How many trials the study is to have."""
        if self.search.sampler != "grid":
            return self.search.trials
        points = 1
        for values in self.space.grid().values():
            points *= len(values)
        return min(points, self.search.trials)

    def trial_folder(self, asked: Asked) -> Path:
        """Where a trial is trained; one that is asked again finds its checkpoints there."""
        return self.folder / "trials" / f"{asked.origin:04d}"

    def _ask_one(self) -> Asked:
        made = len(self.optuna.get_trials(deepcopy=False))
        self.optuna.sampler = make_sampler(self.search, self.space, made)
        trial = self.optuna.ask(self.space.distributions)
        trial.set_user_attr(SEARCHER, self._me)
        return Asked(trial.number, trial.user_attrs.get(ORIGIN, trial.number), dict(trial.params))

    def _alone(self) -> Any:
        return locked(self.folder / LOCK)

    def _running(self) -> list[FrozenTrial]:
        return list(self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def _give_up_lost(self) -> None:
        for trial in self._running():
            signer = trial.user_attrs.get(SEARCHER, "none")
            sign = self.folder / "searchers" / signer
            if signer != self._me and not is_locked(sign):
                self._give_up(trial, died=True)
                sign.unlink(missing_ok=True)

    def _give_up(self, trial: FrozenTrial, died: bool) -> None:
        """Fail a trial and ask it again; in this order, so that a kill between the two loses nothing."""
        values = trial.system_attrs.get("fixed_params", {}) | trial.params
        tries = trial.user_attrs.get(TRIES, 1) + died
        again = {one.user_attrs.get(AGAIN) for one in self.optuna.get_trials(deepcopy=False)}
        if values and tries <= MOST_TRIES and trial.number not in again:
            origin = trial.user_attrs.get(ORIGIN, trial.number)
            self.optuna.enqueue_trial(values, {AGAIN: trial.number, ORIGIN: origin, TRIES: tries})
        self.optuna.tell(trial.number, state=TrialState.FAIL)


def _is_empty(trial: FrozenTrial) -> bool:
    """Whether a process died while it asked for the trial."""
    return trial.state.is_finished() and not trial.params
