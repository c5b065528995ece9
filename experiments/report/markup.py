"""HTML as values: text is escaped unless it is markup already."""

import re
from collections.abc import Iterable
from html import escape

from experiments.report.drawing import INKS


class Html(str):
    """Markup that is safe to put on a page."""

    __slots__ = ()


VOID = ("meta",)
DROPPED = re.compile(r'<!--.*?-->| id="[\w.]+_\d+"', re.DOTALL)  # of a drawing: what nothing refers to


def element(name: str, /, *content: str, **attributes: str) -> Html:
    """`<name attributes>content</name>`; content and values are escaped, unless content is `Html`.

    An attribute that is a word of Python is given with a trailing underscore (`class_`).
    """
    pairs = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    if name in VOID:
        return Html(f"<{name}{pairs}>")
    return Html(f"<{name}{pairs}>{join(content)}</{name}>")


def join(content: Iterable[str]) -> Html:
    """Pieces one after the other, escaped where they are not markup."""
    return Html("".join(piece if isinstance(piece, Html) else escape(piece) for piece in content))


def section(anchor: str, title: str, *content: str) -> Html:
    """A part of the page that a link can go to."""
    return element("section", element("h2", title), *content, id=anchor)


def paragraph(*content: str, class_: str = "") -> Html:
    """A paragraph."""
    return element("p", *content, class_=class_) if class_ else element("p", *content)


def picture(svg: bytes, alt: str, class_: str = "") -> Html:
    """A drawing as a part of the page, in the page's own inks; `alt` says what it shows to those who do not see it."""
    text = svg.decode()
    body = DROPPED.sub("", text[text.index(">", text.index("<svg")) + 1 :])
    for colour, name in INKS.items():
        body = body.replace(colour, f"var(--{name})")
    shape = {
        key: found[1] for key in ("width", "height", "viewBox") if (found := re.search(rf' {key}="([^"]*)"', text))
    }
    empty = element("svg", **shape, role="img", aria_label=alt, class_=f"drawing {class_}".strip())
    return Html(empty.removesuffix("</svg>") + body)


def figure(drawings: Iterable[Html], caption: str, class_: str = "") -> Html:
    """Drawings side by side, wrapping where the page is narrow, over a caption."""
    body = element("div", *drawings, class_="drawings")
    return element("figure", body, element("figcaption", caption), class_=class_ or "plain")


def table(caption: str, heading: Iterable[str], rows: Iterable[tuple[str, Iterable[str]]]) -> Html:
    """A table: column headings, and rows of a row heading with its cells. It scrolls, if need be; its caption stays."""
    head = element("tr", *(element("th", text, scope="col") for text in heading))
    body = [
        element("tr", element("th", name, scope="row"), *(element("td", cell) for cell in cells))
        for name, cells in rows
    ]
    whole = element("table", element("thead", head), element("tbody", *body))
    scrolled = element("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)
    return join([paragraph(caption, class_="caption"), scrolled])


def details(summary: str, *content: str) -> Html:
    """A part that is closed until it is asked for."""
    return element("details", element("summary", summary), *content)
