"""What the site has beside the files of docs/: pages from elsewhere, one for each module, formulas as MathML."""

import ast
import html
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
# Pages that stand where the rest of the world looks for them, or the program that writes them.
OUTSIDE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/RESULTS.md": "results.md",
}
STYLE = "math { font-family: 'STIX Two Math', 'Cambria Math', 'Latin Modern Math', math; }\n"
PACKAGES = ("pnol_jax", "serving.client", "serving.cache", "serving.engine", "serving.wire")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
IMAGE = re.compile(r"(!\[[^\]]*\])\(docs/([^)\s]+)\)")
DISPLAY = re.compile(r"^\$\$\n(.+?)\n\$\$$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"\$([^$`\n]+)\$")
BLOCK = re.compile(r"(```.*?```)", re.DOTALL)
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside, and those of the modules with a list of them."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, "style.css", content=STYLE))
    modules = {name: path for package in PACKAGES for name, path in _modules(package)}
    rows = [f"| [`{name}`](api/{name}.md) | {_subject(path)} |" for name, path in modules.items()]
    head = [
        "# API",
        "",
        "Made from docstrings. Shapes are channel-last: `(batch, *space, channels)`.",
        "",
        "| module | subject |",
    ]
    files.append(File.generated(config, "api.md", content="\n".join([*head, "|---|---|", *rows, ""])))
    for name in modules:
        page = File.generated(config, f"api/{name}.md", content=f"# `{name}`\n\n::: {name}\n")
        page.inclusion = page.inclusion.NOT_IN_NAV
        files.append(page)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as they are right within the site, and formulas that need no script."""
    source = next((outside for outside, name in OUTSIDE.items() if name == page.file.src_uri), None)
    here = posixpath.dirname(source or posixpath.join("docs", page.file.src_uri)) or "."
    markdown = IMAGE.sub(r"\1(\2)", markdown)
    markdown = _outside(BLOCK, markdown, lambda text: LINK.sub(lambda link: _link(link, here, page, files), text))
    return _outside(CODE, markdown, _formulas)


def _outside(code: re.Pattern[str], markdown: str, change: Callable[[str], str]) -> str:
    parts = code.split(markdown)
    parts[::2] = map(change, parts[::2])
    return "".join(parts)


def _modules(package: str) -> list[tuple[str, Path]]:
    folder = ROOT / package.replace(".", "/")
    paths = [path for path in sorted(folder.rglob("*.py")) if path.name not in ("__main__.py", "inference_pb2.py")]
    named = [(".".join(path.relative_to(ROOT).with_suffix("").parts), path) for path in paths]
    return [(name.removesuffix(".__init__"), path) for name, path in named if _subject(path)]


def _subject(path: Path) -> str:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return said.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _link(found: re.Match[str], here: str, page: Any, files: Any) -> str:
    text, target = found.groups()
    if "://" in target or target.startswith("#"):
        return found[0]
    path, sharp, anchor = target.partition("#")
    whole = posixpath.normpath(posixpath.join(here, path))
    inside = OUTSIDE.get(whole) or whole.removeprefix("docs/")
    if files.get_file_from_path(inside) is None:
        return text  # a file of the code, which the site does not hold
    return f"[{text}]({posixpath.relpath(inside, posixpath.dirname(page.file.src_uri) or '.')}{sharp}{anchor})"


def _formulas(text: str) -> str:
    text = DISPLAY.sub(lambda found: convert(found[1], display="block"), text)
    return INLINE.sub(lambda found: f"<span>{convert(html.unescape(found[1]))}</span>", text)  # at a line's start too
