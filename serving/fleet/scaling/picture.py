"""A replay as a picture: SVG, or a page of HTML around it."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from pnol_jax.files import write_atomically
from serving.fleet.scaling.simulation import Outcome
from serving.fleet.scaling.traces import Floats

WIDTH, HEIGHT, LEFT, TOP, GAP = 900, 130, 60, 40, 40  # of a panel, in pixels
POINTS = 1500  # of a line, at most
COLOURS, DASHES = ("#0072b2", "#d55e00"), ("none", "4 3")  # a line that lies on another lets it through
PAGE = (
    '<!doctype html><html lang="en"><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Replay</title>\n'
)


def draw(path: Path, outcomes: Sequence[tuple[str, Outcome]]) -> None:
    """Rate, replicas and queue over time, for each outcome with its title below one another; by the file's ending."""
    blocks = [_block(title, outcome) for title, outcome in outcomes]
    height = len(blocks) * _block_height()
    inner = "".join(f'<g transform="translate(0,{row * _block_height()})">{it}</g>' for row, it in enumerate(blocks))
    width = LEFT + WIDTH + 20
    size = f'viewBox="0 0 {width} {height}" width="100%" style="max-width:{width}px"'
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">{inner}</svg>\n'
    if path.suffix == ".html":
        svg = f"{PAGE}{svg}"
    write_atomically(path, svg)


def _block_height() -> int:
    return TOP + 3 * (HEIGHT + GAP)


def _block(title: str, outcome: Outcome) -> str:
    times = np.array([moment.time for moment in outcome.line]) / 3600
    ready = np.array([moment.ready for moment in outcome.line], float)
    desired = np.array([moment.desired for moment in outcome.line], float)
    rate = np.array([moment.rate for moment in outcome.line])
    queued = np.array([moment.queued for moment in outcome.line], float)
    panels = (
        _panel("requests a second", times, {"": rate}),
        _panel("replicas", times, {"ready": ready, "desired": desired}),
        _panel("waiting requests", times, {"": queued}),
    )
    shifts = (
        f'<g transform="translate({LEFT},{TOP + row * (HEIGHT + GAP)})">{it}</g>' for row, it in enumerate(panels)
    )
    head = f"{title}: {outcome.share:.3%} late, {outcome.replica_hours:.2f} replica-hours"
    return f'<text x="{LEFT}" y="20" font-weight="bold">{escape(head)}</text>{"".join(shifts)}'


def _panel(label: str, times: Floats, lines: dict[str, Floats]) -> str:
    top = max(1.0, *(float(values.max()) for values in lines.values()))
    drawn = [
        f'<polyline fill="none" stroke="{colour}" stroke-dasharray="{dash}" points="{_points(times, values, top)}"/>'
        f'<text x="{WIDTH - 60}" y="{12 + 14 * row}" fill="{colour}">{escape(name)}</text>'
        for row, ((name, values), colour, dash) in enumerate(zip(lines.items(), COLOURS, DASHES, strict=False))
    ]
    frame = f'<path d="M0 0V{HEIGHT}H{WIDTH}" fill="none" stroke="#888"/>'
    marks = (
        f'<text x="-6" y="10" text-anchor="end">{short(top)}</text><text x="-6" y="{HEIGHT}" text-anchor="end">0</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 14}" text-anchor="end">{times[-1]:.3g} h</text>'
        f'<text x="0" y="{HEIGHT + 14}">{escape(label)}</text>'
    )
    return frame + marks + "".join(drawn)


def short(value: float) -> str:
    """A number in three digits, as there is room for: 129k for 129,300."""
    rounded = float(f"{value:.3g}")
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= size:
            return f"{rounded / size:.3g}{sign}"
    return f"{rounded:.3g}"


def _points(times: Floats, values: Floats, top: float) -> str:
    """Of a line; where there are too many, the largest of each few, so that no peak is lost."""
    stride = -(-len(times) // POINTS)
    starts = np.arange(0, len(times), stride)
    x = times[starts] / times[-1] * WIDTH
    y = HEIGHT * (1 - np.maximum.reduceat(values, starts) / top)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
