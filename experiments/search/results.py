"""What a search leaves: the best config or, of several objectives, one config for each trial on the Pareto front.

`best.toml`, or `front/trial-N.toml` and `front.json`: whole configs for `experiments.train`; `trials.json`: all trials.
"""

import json
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState
from rich.table import Table

from experiments import runs
from experiments.search.study import NOTE, SCORES, Study
from pnol_jax.files import write_atomically

SHOWN = 10  # trials in the terminal


def best_trials(study: Study) -> list[FrozenTrial]:
    """The best trial; of several objectives the Pareto front, by the first. None where no trial is complete."""
    complete = [trial for trial in study.finished() if trial.state == TrialState.COMPLETE]
    if not complete:
        return []
    best: list[FrozenTrial] = sorted(study.optuna.best_trials, key=lambda trial: trial.values)
    return best if len(study.search.objectives) > 1 else best[:1]


def write_results(study: Study) -> list[Path]:
    """Write the configs and the table of trials; the configs' paths, best first."""
    rows = [_row(study, trial) for trial in study.finished()]
    write_atomically(study.folder / "trials.json", json.dumps(rows, indent=2) + "\n")
    best = best_trials(study)
    if len(study.search.objectives) == 1:
        return [_write_config(study, trial, study.folder / "best.toml") for trial in best]
    front = study.folder / "front"
    paths = [_write_config(study, trial, front / f"trial-{trial.number:04d}.toml") for trial in best]
    write_atomically(study.folder / "front.json", json.dumps([_row(study, trial) for trial in best], indent=2) + "\n")
    for path in set(front.glob("*.toml")) - set(paths):
        path.unlink()
    return paths


def values(study: Study, trial: FrozenTrial) -> str:
    """The objectives of a complete trial in words."""
    pairs = zip(study.search.objectives, trial.values, strict=True)
    return ", ".join(f"{name} {value:.4g}" for name, value in pairs)


def table(study: Study) -> Table:
    """The best trials for the terminal."""
    keys = list(study.space.parameters)
    made = Table("trial", *study.search.objectives, *(key.replace(".", ".\n") for key in keys))
    for trial in best_trials(study)[:SHOWN]:
        point = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in map(trial.params.get, keys))
        made.add_row(str(trial.number), *(f"{value:.4g}" for value in trial.values), *point)
    return made


def advice(study: Study, configs: list[Path], steps: int) -> str:
    """How to train the best for as many steps as the config has without the study."""
    several = len(study.search.objectives) > 1
    which = f"one of the {len(configs)} in {study.folder / 'front'}" if several else "the best"
    more = f" training.steps={steps}" if steps != study.steps else ""
    return f"train {which}: python -m experiments.train {configs[0]} --run {study.folder}_best{more}"


def _row(study: Study, trial: FrozenTrial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "values": dict(zip(study.search.objectives, trial.values or [], strict=False)),
        "parameters": trial.params,
        "scores": trial.user_attrs.get(SCORES, {}),
        "note": trial.user_attrs.get(NOTE, ""),
        "seconds": trial.duration.total_seconds() if trial.duration else None,
    }


def _write_config(study: Study, trial: FrozenTrial, path: Path) -> Path:
    about = f"# Trial {trial.number} of the study {study.record.name}: {values(study, trial)}, "
    about += f"on {study.search.validation} cases held out of the training cases.\n"
    write_atomically(path, about + runs.as_toml(study.space.config(trial.params)).decode())
    return path
