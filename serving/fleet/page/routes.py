"""Where the page and its two files are; they hold nothing of a fleet, so that they need no token."""

from pathlib import Path

from litestar import Response, get
from litestar.params import FromPath

from serving.refusals import NotFound

BELOW = "/monitoring/page/"
FILES = {"style.css": "text/css; charset=utf-8", "script.js": "text/javascript; charset=utf-8"}
HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@get("/monitoring", sync_to_thread=False)
def page() -> Response[bytes]:
    """The page."""
    return _file("page.html", "text/html; charset=utf-8")


@get(BELOW + "{name:str}", sync_to_thread=False)
def part(name: FromPath[str]) -> Response[bytes]:
    """Its style or its script."""
    if name not in FILES:
        raise NotFound(f"file: got {name!r}, expected one of {sorted(FILES)}")
    return _file(name, FILES[name])


def _file(name: str, media: str) -> Response[bytes]:
    return Response(Path(__file__).with_name(name).read_bytes(), media_type=media, headers=HEADERS)


PAGE = [page, part]
