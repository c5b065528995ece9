"""Optuna's plots as parts of our pages: their data and marks, our letters and colours, and no title or ground."""

from collections.abc import Sequence
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
AXIS = {"automargin": True, "zeroline": False, "title": {"standoff": 12}, "exponentformat": "power"}
# Above the plot, where its left end is in sight on a narrow page too.
BAR: dict[str, Any] = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "len": 0.6}
BAR |= {"thickness": 12, "outlinewidth": 0, "title_side": "top"}
TEMPLATE = go.layout.Template(
    layout={
        "colorway": COLOURS,
        "font": {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif", "size": 12},
        "xaxis": AXIS,
        "yaxis": AXIS,
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


def markup(figure: go.Figure, keys: Sequence[str] = ()) -> Html:
    """A plot as a part of the page. Of the keys that it names it shows the last words, which have room."""
    figure.update_layout(LAYOUT)
    figure.for_each_trace(_recolour)
    _name(figure, keys)
    for letter in "xy":
        _label(figure, letter)
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
    elif trace.mode == "lines" and trace.name == "Best Value":
        trace.update(name="best so far", line_shape="hv")
    elif trace.mode == "lines" and str(trace.line.color).startswith("rgb("):
        trace.update(line={"color": _rescaled(trace.line.color)}, opacity=0.8)
    elif trace.marker.colorscale:
        trace.marker.update(colorscale=SCALE, line={"width": 0.5, "color": SOFT})
        if trace.marker.showscale:
            trace.marker.colorbar.update(BAR)


def _name(figure: go.Figure, keys: Sequence[str]) -> None:
    """Call keys by their last word, unless two have the same."""
    last = [key.rpartition(".")[2] for key in keys]
    short = {key: word if last.count(word) == 1 else key for key, word in zip(keys, last, strict=True)}
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        if axis.title.text in short:
            axis.title.text = short[axis.title.text]
        if axis.ticktext and len(axis.ticktext) == len(keys) + 1:  # the objective, then keys, of which it cuts off
            axis.ticktext = [axis.ticktext[0], *(short[key] for key in sorted(keys))]
    for trace in figure.select_traces({"type": "bar", "orientation": "h"}):
        if trace.y is not None:
            trace.y = [short.get(key, key) for key in trace.y]


def _label(figure: go.Figure, letter: str) -> None:
    """Label a logarithmic axis at 1, 2 and 5 of each decade, or where there are many at powers of ten."""
    for axis in figure.select_xaxes() if letter == "x" else figure.select_yaxes():
        if axis.type == "log":
            name = axis.plotly_name.replace("axis", "")
            traces = [trace for trace in figure.data if (trace[f"{letter}axis"] or letter) == name]
            values = [value for trace in traces for value in trace[letter] or () if value]
            axis.dtick = "D2" if not values or max(values) < 100 * min(values) else 1


def single_out(figure: go.Figure, best: str) -> go.Figure:
    """The lines of all trials in one grey, that of the best in a colour and before them."""
    lines = sorted(figure.data, key=lambda trace: trace.name == best)
    for place, line in enumerate(lines):
        first = place == 0 and line.name != best
        line.update(
            line={"color": SOFT, "width": 1},
            marker={"color": SOFT, "size": 3},
            opacity=0.6,
            showlegend=first,
            hovertext=line.name,
            name="the other trials" if first else line.name,
        )
    lines[-1].update(line={"color": COLOURS[1], "width": 2.5}, marker={"color": COLOURS[1], "size": 6}, opacity=1)
    lines[-1].showlegend = True
    figure.data = tuple(lines)
    return figure


def _rescaled(colour: str) -> str:
    """A colour of Blues, from which Optuna takes those of lines, in our scale; its green falls from end to end."""
    greens = [unlabel_rgb(blue)[1] for blue in reversed(sequential.Blues)]
    place = 1 - np.interp(unlabel_rgb(colour)[1], greens, np.linspace(0, 1, len(greens)))
    return str(sample_colorscale(list(SCALE), float(place))[0])
