"""Optuna's plots on a study's page: they look like the page's other parts, and their colours mean what they meant."""

from collections.abc import Callable
from typing import Any

import optuna
import optuna.visualization as optunas
import pytest
from optuna.visualization._parallel_coordinate import _sample_colorscale
from plotly.colors import sample_colorscale, sequential

from experiments.search.plots import SCALE, _rescaled, markup


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


@pytest.mark.parametrize("place", [0.0, 0.2, 0.5, 0.77, 1.0])
def test_a_line_keeps_its_place_on_the_scale(place: float) -> None:
    def shades(text: str) -> list[float]:
        return [float(part) for part in text.removeprefix("rgb(").removesuffix(")").split(",")]

    [expected] = sample_colorscale(list(SCALE), place)
    assert shades(_rescaled(_sample_colorscale(sequential.Blues, place))) == pytest.approx(shades(expected), abs=1)
