"""Optuna's plots on a study's page: they look like the page's other parts, and their colours mean what they meant."""

from collections.abc import Callable
from typing import Any

import optuna
import optuna.visualization as optunas
import plotly.graph_objects as go
import pytest
from optuna.visualization._parallel_coordinate import _sample_colorscale
from plotly.colors import sample_colorscale, sequential

from experiments.report.drawing import SOFT
from experiments.search.plots import SCALE, _rescaled, markup, single_out


@pytest.fixture(scope="module")
def study() -> optuna.Study:
    made = optuna.create_study()
    names = {
        "rate": optuna.distributions.FloatDistribution(1e-3, 1.0),
        "depth": optuna.distributions.IntDistribution(1, 4),
    }
    for number in range(6):
        trial = made.ask(names)
        trial.report(number + 1.0, 1)
        made.tell(trial, float(number))
    return made


@pytest.mark.parametrize(
    "plot",
    [
        optunas.plot_optimization_history,
        optunas.plot_intermediate_values,
        optunas.plot_param_importances,
        optunas.plot_slice,
        optunas.plot_parallel_coordinate,
        optunas.plot_contour,
        optunas.plot_timeline,
    ],
)
def test_a_plot_has_no_heading_no_ground_and_no_colour_scale_of_its_own(
    study: optuna.Study, plot: Callable[[optuna.Study], Any]
) -> None:
    figure = plot(study)
    assert figure.layout.title.text
    drawn = markup(figure)
    assert not figure.layout.title.text
    assert figure.layout.plot_bgcolor == figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    scales = [getattr(trace, "colorscale", None) or trace.marker.colorscale for trace in figure.data]
    assert all([colour for _, colour in scale] == list(SCALE) for scale in scales if scale)
    assert drawn.startswith("<div")
    assert "<script" in drawn


def test_the_best_so_far_is_drawn_in_steps(study: optuna.Study) -> None:
    figure = optunas.plot_optimization_history(study)
    markup(figure)
    [line] = figure.select_traces({"name": "best so far"})
    assert line.line.shape == "hv"


def test_on_the_way_the_best_trial_alone_has_a_colour_and_a_name() -> None:
    figure = single_out(go.Figure([go.Scatter(x=[1], y=[1], name=f"Trial{n}") for n in range(14)]), "Trial3")
    *others, best = figure.data
    assert best.name == "Trial3"
    assert {line.line.color for line in others} == {SOFT} != {best.line.color}
    assert [line.name for line in figure.data if line.showlegend] == ["the other trials", "Trial3"]


@pytest.mark.parametrize("plot", [optunas.plot_slice, optunas.plot_parallel_coordinate, optunas.plot_contour])
def test_keys_are_called_by_their_last_word(plot: Callable[[optuna.Study], Any]) -> None:
    keys = ("optimizer.learning_rate", "optimizer.weight_decay")
    figure = plot(_logarithmic(keys))
    markup(figure, keys)
    axes = (*figure.select_xaxes(), *figure.select_yaxes())
    said = [word for axis in axes for word in (axis.title.text, *(axis.ticktext or ()))]
    assert {"learning_rate", "weight_decay"} <= set(said)
    assert not any("optimizer" in str(word) for word in said)


def test_a_logarithmic_axis_is_labelled_by_powers_of_ten_and_within_a_few_at_2_and_5() -> None:
    figure = optunas.plot_contour(_logarithmic(("a", "b")))
    markup(figure)
    assert {
        axis.exponentformat for axis in (figure.layout.template.layout.xaxis, figure.layout.template.layout.yaxis)
    } == {"power"}
    assert (figure.layout.xaxis.dtick, figure.layout.yaxis.dtick) == ("D2", 1)


def test_a_bar_of_colours_stands_above_the_plot_and_begins_at_its_left(study: optuna.Study) -> None:
    figure = optunas.plot_slice(study)
    markup(figure)
    [bar] = [trace.marker.colorbar for trace in figure.data if trace.marker.showscale]
    assert (bar.orientation, bar.x, bar.xanchor) == ("h", 0, "left")


def _logarithmic(keys: tuple[str, str]) -> optuna.Study:
    """The first key lies within a decade and the second spans six."""
    made = optuna.create_study()
    lows = dict(zip(keys, (0.1, 1e-6), strict=True))
    spans = {key: optuna.distributions.FloatDistribution(low, 1.0, log=True) for key, low in lows.items()}
    for place in range(5):
        values = {key: low ** (place / 4) for key, low in lows.items()}
        made.add_trial(optuna.trial.create_trial(params=values, distributions=spans, value=float(place)))
    return made


@pytest.mark.parametrize("place", [0.0, 0.2, 0.5, 0.77, 1.0])
def test_a_line_keeps_its_place_on_the_scale(place: float) -> None:
    def shades(text: str) -> list[float]:
        return [float(part) for part in text.removeprefix("rgb(").removesuffix(")").split(",")]

    [expected] = sample_colorscale(list(SCALE), place)
    assert shades(_rescaled(_sample_colorscale(sequential.Blues, place))) == pytest.approx(shades(expected), abs=1)
