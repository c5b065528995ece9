"""How every drawing looks, and how it becomes bytes: Matplotlib figures of their own, no state shared."""

import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure, FigureBase

Draw = Callable[[FigureBase], None]

# Okabe and Ito's colours, told apart by all kinds of sight, then Tol's muted ones; markers differ besides.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MUTED = ("#332288", "#882255", "#999933", "#44AA99", "#AA4499", "#661100")
COLOURS = (*OKABE_ITO, *MUTED)
MARKERS = "osD^vPX*<>hp"
TRUTH, MEAN, BAND, ERROR, SOFT = "#1b1f24", "#0072B2", "#56B4E9", "#D55E00", "#7b8794"
FIELD, SIGNED, POSITIVE, GIVEN = "viridis", "RdBu_r", "cividis", "gray"
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelcolor": "#3a434d",
    "axes.edgecolor": "#9aa5b1",
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
    "grid.color": "#dfe4e9",
    "grid.linewidth": 0.6,
    "xtick.color": "#59636e",
    "ytick.color": "#59636e",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "svg.fonttype": "path",  # the same letters wherever the page is opened
    "svg.hashsalt": "report",  # the same bytes whenever it is made
    "text.color": "#1b1f24",
}


def svg(draw: Draw, width: float, height: float, ground: str = "none") -> bytes:
    """A drawing of so many inches (96 pixels of the page each), by itself on no ground."""
    out = io.BytesIO()
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        figure = Figure((width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        figure.savefig(out, format="svg", facecolor=ground, metadata={"Date": None, "Creator": None})
    return out.getvalue()


def plain(text: str) -> str:
    """Text of the user in which Matplotlib is to see no formula."""
    return text.replace("$", r"\$")


def colour(position: int) -> str:
    """The colour of the n-th test set."""
    return COLOURS[position % len(COLOURS)]


def marker(position: int) -> str:
    """The marker of the n-th test set."""
    return MARKERS[position % len(MARKERS)]
