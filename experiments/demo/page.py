"""The features on one page that needs no other file."""

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path

from experiments.demo.shown import Figure, Shown
from experiments.report import drawing
from experiments.report.markup import Html, element, figure, join, paragraph, picture, section
from experiments.report.page import page
from pnol_jax.files import write_atomically


def write_page(folder: Path, titles: Mapping[str, str], shown: Mapping[str, Shown]) -> Path:
    """Write `index.html` of these features, by name."""
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    seconds = sum(each.seconds for each in shown.values())
    about = (
        f"Measured {when} UTC in {seconds:.0f} s on {os.cpu_count()} cores, {platform.system()} {platform.machine()}."
    )
    links = [element("a", titles[name], href=f"#{name}") for name in shown]
    body = [
        join([element("h1", "pnol_jax, shown"), paragraph(about, class_="about")]),
        element("nav", *links) if len(links) > 1 else Html(""),
        *(section(name, titles[name], *_part(each)) for name, each in shown.items()),
    ]
    path = folder / "index.html"
    write_atomically(path, page("pnol_jax, shown", body))
    return path


def _part(shown: Shown) -> list[Html]:
    drawings = [picture(drawing.svg(each.draw, each.width, each.height), each.alt) for each in shown.drawings]
    return [
        paragraph(shown.verdict, class_="verdict"),
        element("div", *map(_tile, shown.figures), class_="tiles"),
        figure(drawings, shown.caption),
        paragraph(f"{shown.how} {shown.seconds:.0f} s.", class_="note"),
    ]


def _tile(shown: Figure) -> Html:
    lines = {"name": shown.name, "value": shown.value, "more": shown.more}
    return element("div", *(element("div", text, class_=kind) for kind, text in lines.items()), class_="tile")
