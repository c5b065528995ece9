"""Optuna's plots as parts of our pages: their data and marks, our letters and colours, and no title or ground."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.basedatatypes import BaseTraceType
from plotly.colors import sample_colorscale, sequential, unlabel_rgb

from experiments.report.drawing import COLOURS, SOFT
from experiments.report.markup import Html, element

SCALE = ("#56B4E9", "#8073ac", "#D55E00")  # of colours that stand for numbers; seen on light and on dark pages
OUTCOMES = {"COMPLETE": COLOURS[0], "PRUNED": COLOURS[4], "FAIL": COLOURS[1], "RUNNING": COLOURS[2]}
CLEAR = "rgba(0,0,0,0)"
TEMPLATE = go.layout.Template(
    layout={
        "colorway": COLOURS,
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif", "size": 12},
        "xaxis": {"automargin": True, "zeroline": False, "title": {"standoff": 12}},
        "yaxis": {"automargin": True, "zeroline": False, "title": {"standoff": 12}},
    }
)
LAYOUT: dict[str, Any] = {
    "template": TEMPLATE,
    "title": None,  # the section has a heading
    "paper_bgcolor": CLEAR,
    "plot_bgcolor": CLEAR,
    "margin": {"l": 40, "r": 30, "t": 40, "b": 10},
    "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
}
COLUMN, ROW = 15, 14  # rem that a plot beside or below others needs; a narrow page scrolls it in its own box


def markup(figure: go.Figure) -> Html:
    """A plot as a part of the page."""
    figure.update_layout(LAYOUT)
    figure.for_each_trace(_recolour)
    columns, rows = ({axis.domain for axis in axes} for axes in (figure.select_xaxes(), figure.select_yaxes()))
    shown = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"displayModeBar": False, "responsive": True},
        default_height=f"{max(24, ROW * len(rows))}rem",
    )
    inner = element("div", Html(shown), style=f"min-width: {max(18, COLUMN * len(columns))}rem")
    return element("div", inner, class_="scroll plot")


def _recolour(trace: BaseTraceType) -> None:
    if trace.type == "contour":
        trace.colorscale = SCALE
    elif trace.type == "bar":
        trace.update(cliponaxis=False)
        if trace.name in OUTCOMES:
            trace.marker.color = OUTCOMES[trace.name]
    elif trace.mode == "lines" and str(trace.line.color).startswith("rgb("):
        trace.update(line={"color": _rescaled(trace.line.color)}, opacity=0.8)
    elif trace.marker.colorscale:
        trace.marker.update(colorscale=SCALE, line={"width": 0.5, "color": SOFT})


def _rescaled(colour: str) -> str:
    """A colour of Blues, from which Optuna takes those of lines, in our scale; its green falls from end to end."""
    greens = [unlabel_rgb(blue)[1] for blue in reversed(sequential.Blues)]
    place = 1 - np.interp(unlabel_rgb(colour)[1], greens, np.linspace(0, 1, len(greens)))
    return str(sample_colorscale(list(SCALE), float(place))[0])
