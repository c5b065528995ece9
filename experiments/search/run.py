"""The search itself: trials are asked, trained wherever the pool has its workers, and told as they come back."""

import functools
from collections.abc import Sequence
from pathlib import Path

from optuna.trial import TrialState

from experiments.jobs import Outcome, Pool, PoolConfig, open_pool
from experiments.search.alone import Result, forget_checkpoints, train_alone
from experiments.search.group import Together
from experiments.search.opening import load_study
from experiments.search.problem import Problem
from experiments.search.record import FILE
from experiments.search.samplers import quiet
from experiments.search.study import NOTE, SCORES, Asked, Study
from pnol_jax.errors import InputError

ALL_FAIL = 3  # trials, without one that does not, after which it is not the trials that are wrong


def search(study: Study, settings: PoolConfig) -> bool:
    """Train trials until the study has all of them; False where a signal stopped it before.

    Raises:
        InputError: the first trials all fail.
    """
    what = "groups of trials" if study.search.vectorised > 1 else "trials"
    with open_pool(settings, f"{study.record.name}: {what} handed out") as pool, study.searching():
        hunt = _Hunt(study, pool)
        for _ in range(settings.workers):
            hunt.submit()
        for outcome in pool.completed():
            if not hunt.take(outcome):
                return False
            hunt.submit()
    return True


class _Hunt:
    """What this process has asked of a study and not yet told."""

    def __init__(self, study: Study, pool: Pool) -> None:
        self._study, self._pool = study, pool
        self._asked: dict[str, list[Asked]] = {}

    def submit(self) -> None:
        """Hand the next trial or group of trials to the pool, if there is one."""
        group = self._study.ask(self._study.search.vectorised)
        if group:
            for asked in group:
                if asked.number != asked.origin:
                    self._pool.say(f"trial {asked.number}: trial {asked.origin} again, which was stopped")
            name = "trial " + ", ".join(str(asked.number) for asked in group)
            self._asked[name] = group
            self._pool.submit(train_group, str(self._study.folder.absolute()), group, name=name)

    def take(self, outcome: Outcome) -> bool:
        """Tell what came back; False if the trials were stopped."""
        group = self._asked.pop(outcome.name)
        if outcome.error is not None:
            results = [Result(asked, TrialState.FAIL, note=f"failed: {outcome.error}") for asked in group]
        else:
            results = outcome.value
        ended = [result for result in results if result.state != TrialState.RUNNING]
        for result in ended:
            self._tell(result)
        self._give_up_where_all_fail()
        return len(ended) == len(results)

    def _tell(self, result: Result) -> None:
        asked = result.asked
        figures = {SCORES: result.figures} if result.figures else {}
        self._study.tell(asked, result.values, result.state, result.note, **figures)
        forget_checkpoints(self._study, asked)
        done = f"{len(self._study.finished())}/{self._study.total()}"
        point = ", ".join(f"{key.rpartition('.')[2]} {_short(value)}" for key, value in asked.point.items())
        self._pool.say(f"{done}  trial {asked.number}: {self._outcome(result)} ({point})")

    def _outcome(self, result: Result) -> str:
        if result.values is None:
            return result.note
        pairs = zip(self._study.search.objectives, result.values, strict=True)
        return ", ".join(f"{name} {value:.4g}" for name, value in pairs)

    def _give_up_where_all_fail(self) -> None:
        ended = self._study.finished()
        if len(ended) >= ALL_FAIL and all(trial.state == TrialState.FAIL for trial in ended):
            raise InputError(f"{self._study.folder}: all {len(ended)} trials failed; {ended[-1].user_attrs.get(NOTE)}")


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def train_group(folder: str, group: Sequence[Asked]) -> list[Result]:
    """Train trials, together if there are several; any process that sees the study's folder can do it."""
    opened = _Opened.of(folder, (Path(folder) / FILE).read_bytes())
    if len(group) == 1 and opened.together is None:
        return [train_alone(opened.study, opened.problem, group[0])]
    assert opened.together is not None
    return opened.together.train(group)


class _Opened:
    """A study in the process that trains: its cases, and the program of its groups, are kept from trial to trial."""

    def __init__(self, folder: Path) -> None:
        quiet()
        self.study = load_study(folder)
        self.problem = Problem(self.study.space.base(), self.study.search)
        self.together = Together(self.study, self.problem) if self.study.search.vectorised > 1 else None

    @staticmethod
    @functools.lru_cache(maxsize=1)
    def of(folder: str, record: bytes) -> "_Opened":
        """The study of a folder, opened anew where its record is another: workers may outlive a search."""
        return _Opened(Path(folder))
