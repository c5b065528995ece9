"""How every drawing looks, and how it becomes bytes: Matplotlib figures of their own, no state shared."""

import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

Draw = Callable[[FigureBase], None]

# Okabe and Ito's colours, told apart by all kinds of sight, then six that both grounds show; markers differ.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MORE = ("#7466d4", "#b8467f", "#8c8a1f", "#a9683a", "#2f9c95", "#5f9140")
COLOURS = (*OKABE_ITO, *MORE)
MARKERS = "osD^vPX*<>hp"
# The mean has an ink of its own, as good as the first of the colours, which stays what it is on dark pages.
TRUTH, MEAN, BAND, ERROR, SOFT = "#1b1f24", "#0071b2", "#56B4E9", "#D55E00", "#7b8794"
CUT = "#000000"  # on an image, which has the same colours on every page
FIELD, SIGNED, POSITIVE, GIVEN = "viridis", "RdBu_r", "cividis", "gray"
# Colours that the page's style names, since they differ where the page is dark.
INKS: Mapping[str, str] = {
    TRUTH: "text",
    MEAN: "mean",
    "#3a434d": "label",
    "#59636e": "soft",
    "#9aa5b1": "edge",
    "#dfe4e9": "grid",
}
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
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
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": 8,
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
        figure.savefig(
            out, format="svg", facecolor=ground, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    return out.getvalue()


def legend(axes: Axes, side: str = "upper") -> None:
    """The legend outside of the axes, where it covers nothing: above or, with `side` "lower", below them."""
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    figure = axes.figure
    room = 0.85 * 72 * figure.bbox.width / figure.dpi  # points
    widths = [(0.62 * len(label) + 4) * STYLE["legend.fontsize"] for label in labels]  # letters, line and gaps
    columns = len(labels) if sum(widths) <= room else max(1, int(room / max(widths)))
    if side == "upper":
        axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, columnspacing=1.2)
    else:
        figure.legend(handles, labels, loc="outside lower left", ncols=columns, columnspacing=1.2)


def logarithmic(axes: Axes, names: str) -> None:
    """Logarithmic scales for "x", "y" or "xy" after everything is drawn, with as many labels as there is room for."""
    for name in names:
        getattr(axes, f"set_{name}scale")("log")
        axis = axes.xaxis if name == "x" else axes.yaxis
        low, high = getattr(axes, f"get_{name}lim")()
        decades = math.log10(high / low)
        few = (1.0, 2.0, 3.0, 5.0, 7.0) if decades < 1 and 1e-3 <= low < high < 1e4 else (1.0, 2.0, 5.0)
        if decades < 0.6:
            axis.set_major_locator(MaxNLocator(3))
        else:
            axis.set_major_locator(LogLocator(subs=few if decades < 2 else (1.0,), numticks=6))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
        axis.set_minor_locator(NullLocator())


def _tick(value: float) -> str:
    """A number as short as it can be: 0.05, 20, two times ten to the power of -5."""
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    if not exponent:
        return mantissa
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if mantissa == "1" else rf"${mantissa}\times{power}$"


def plain(text: str) -> str:
    """Text of the user in which Matplotlib is to see no formula."""
    return text.replace("$", r"\$")


def colour(position: int) -> str:
    """The colour of the n-th test set."""
    return COLOURS[position % len(COLOURS)]


def marker(position: int) -> str:
    """The marker of the n-th test set."""
    return MARKERS[position % len(MARKERS)]
