"""The report of a study: one page with Optuna's plots, which needs no other file."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna.visualization as optunas
from optuna.trial import FrozenTrial, TrialState

from experiments.report.markup import Html, details, element, join, paragraph, section, table
from experiments.report.page import page
from experiments.search.plots import markup, single_out
from experiments.search.results import best_trials, values
from experiments.search.study import NOTE, Study
from pnol_jax.files import write_atomically

SHOWN = 50  # trials in the table
CONTOURS = 4  # keys up to which every pair of them is drawn


def write_page(study: Study, advice: str = "") -> Path:
    """Write `report.html` into the study's folder. `advice` is what to do with the best, a colon, and the command."""
    path = study.folder / "report.html"
    drawings = _drawings(study)
    names = ", ".join(study.search.objectives)
    body = [
        join([element("h1", study.record.name), paragraph(f"A search for small {names}.", class_="about")]),
        paragraph(_verdict(study), class_="verdict"),
        _advice(advice),
        _script() if drawings else Html(""),
        *drawings,
        section("trials", "Trials", _trials(study)),
    ]
    write_atomically(path, page(f"{study.record.name}: report", body))
    return path


def _advice(text: str) -> Html:
    what, _, command = text.partition(": ")
    return join([paragraph(f"To {what}:"), element("pre", command, class_="command", tabindex="0")] if text else [])


def _verdict(study: Study) -> str:
    ended, best = study.finished(), best_trials(study)
    counts = {state: sum(trial.state == state for trial in ended) for state in TrialState}
    text = f"{len(ended)} of {study.total()} trials: {counts[TrialState.COMPLETE]} complete, "
    text += f"{counts[TrialState.PRUNED]} pruned or diverged, {counts[TrialState.FAIL]} failed."
    if not best:
        return text
    if len(study.search.objectives) > 1:
        return f"{text} {len(best)} are on the Pareto front."
    return f"{text} The best is trial {best[0].number}: {values(study, best[0])}."


def _drawings(study: Study) -> list[Html]:
    """The sections with plots; a plot that has too few trials is left out."""
    if not best_trials(study):
        return []
    names = study.search.objectives
    one = len(names) == 1
    made: list[tuple[str, str, Callable[[], Any], bool]] = []
    if one:
        history = lambda: optunas.plot_optimization_history(study.optuna, target_name=names[0])  # noqa: E731
        named = {"yaxis_title_text": names[0], "showlegend": True}
        best = f"Trial{best_trials(study)[0].number}"
        way = lambda: single_out(optunas.plot_intermediate_values(study.optuna), best).update_layout(**named)  # noqa: E731
        made.append(("history", "History", history, True))
        made.append(("pruning", "Scores on the way", way, _told(study)))
    else:
        front = lambda: optunas.plot_pareto_front(study.optuna, target_names=list(names))  # noqa: E731
        made.append(("front", "Pareto front", front, len(names) in (2, 3)))
    for position, name in enumerate(names):
        how: dict[str, Any] = {"target_name": name} | ({} if one else {"target": _value(position)})
        keys = len(study.space.parameters)
        for anchor, title, plot, shown in (
            ("importances", "Importance", optunas.plot_param_importances, keys > 1),
            ("slice", "Each key by itself", optunas.plot_slice, True),
            ("parallel", "All keys", optunas.plot_parallel_coordinate, keys > 1),
            ("contour", "Pairs of keys", optunas.plot_contour, 1 < keys <= CONTOURS),
        ):
            made.append((f"{anchor}-{name}", f"{title}: {name}", _bound(plot, study, how), shown))
    made.append(("timeline", "Timeline", lambda: optunas.plot_timeline(study.optuna), True))
    keys_of = list(study.space.parameters)
    return [drawn for anchor, title, plot, shown in made if shown for drawn in _drawn(anchor, title, plot, keys_of)]


def _bound(plot: Callable[..., Any], study: Study, how: dict[str, Any]) -> Callable[[], Any]:
    return lambda: plot(study.optuna, **how)


def _value(position: int) -> Callable[[FrozenTrial], float]:
    return lambda trial: float(trial.values[position])


def _told(study: Study) -> bool:
    return any(trial.intermediate_values for trial in study.finished())


def _drawn(anchor: str, title: str, plot: Callable[[], Any], keys: Sequence[str]) -> list[Html]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            drawing = plot()
        except (ValueError, RuntimeError):  # too few trials, or all with one value
            return []
    return [section(anchor, title, markup(drawing, keys))]


def _script() -> Html:
    from plotly.offline import get_plotlyjs

    return element("script", Html(get_plotlyjs()))


def _trials(study: Study) -> Html:
    ended = sorted(study.finished(), key=lambda trial: (trial.state != TrialState.COMPLETE, trial.values or [0.0]))
    keys = list(study.space.parameters)
    heading = ["trial", "state", *study.search.objectives, *keys, "note"]
    whole = table("The best first", heading, [(str(one.number), _cells(study, keys, one)) for one in ended[:SHOWN]])
    rest = [(str(one.number), _cells(study, keys, one)) for one in ended[SHOWN:]]
    return join([whole, details(f"{len(rest)} more", table("The others", heading, rest))]) if rest else whole


def _cells(study: Study, keys: Sequence[str], trial: FrozenTrial) -> list[str]:
    complete = trial.state == TrialState.COMPLETE
    found = [f"{value:.4g}" for value in trial.values] if complete else ["–"] * len(study.search.objectives)
    point = [_text(trial.params.get(key, "–")) for key in keys]
    state = "failed" if trial.state == TrialState.FAIL else trial.state.name.lower()
    return [state, *found, *point, trial.user_attrs.get(NOTE) or "–"]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
