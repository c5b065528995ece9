"""The reference of the config, made from its schema: `python -m experiments.reference > docs/configuration.md`.

What a key is for stands beside it as a comment, which is read from the source.
"""

import inspect
import io
import re
import sys
import tokenize
import typing
from typing import Any

import msgspec

from pnol_jax.config import ExperimentConfig
from pnol_jax.schema import Section

HEAD = """# Configuration

Every key of an experiment's TOML file, its type and its default. Overrides on the command line are written
`section.key=value`. Where a section has several kinds, `name` (or `kind`) chooses one. This page is made from the
schema by `python -m experiments.reference`.
"""


WORDS = {str: "text", float: "number", int: "integer", bool: "true or false"}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def main() -> int:
    """Print the page."""
    sys.stdout.write(page())
    return 0


def page() -> str:
    """The page in Markdown: a chapter for each section and kind."""
    return HEAD + "".join(f"\n{_chapter(path, struct)}" for path, struct in sections(ExperimentConfig, ""))


def sections(schema: Any, path: str) -> dict[tuple[str, Any], None]:
    """Every struct of the schema once, with the key that it stands under; the kinds of a section before their parts."""
    found: dict[tuple[str, Any], None] = {(path, schema): None}
    for field in msgspec.structs.fields(schema):
        name = f"{path}.{field.name}".lstrip(".")
        kinds = [sections(kind, name) for kind in _structs(field.type)]
        found |= {next(iter(parts)): None for parts in kinds}
        found |= {part: None for parts in kinds for part in parts}
    return found


def _structs(kind: Any) -> list[Any]:
    """The structs that a type admits."""
    if isinstance(kind, type) and issubclass(kind, Section):
        return [kind]
    return [struct for part in typing.get_args(kind) for struct in _structs(part)]


def _chapter(path: str, struct: Any) -> str:
    config, notes = struct.__struct_config__, comments(struct)
    name = f"`[{path}]`" + (f' with `{config.tag_field} = "{config.tag}"`' if config.tag else "")
    head = [f"## {name if path else 'Top level'}", "", inspect.cleandoc(struct.__doc__), ""]
    rows = [
        f"| `{field.name}` | {_written(field.type)} | {_default(field)} | {notes.get(field.name, '')} |"
        for field in msgspec.structs.fields(struct)
    ]
    table = ["| key | type | default | |", "|---|---|---|---|", *rows] if rows else ["No keys."]
    return "\n".join([*head, *table]) + "\n"


def comments(struct: Any) -> dict[str, str]:
    """What the source says behind each key, and on the lines of comments right below it."""
    found: dict[str, str] = {}
    key = ""
    source = "".join(inspect.getsource(kind) for kind in struct.__mro__[::-1] if issubclass(kind, Section))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        opening = re.match(r"\s+(\w+):", token.line)
        key = opening[1] if opening else key
        if token.type == tokenize.COMMENT and key:
            found[key] = f"{found.get(key, '')} {token.string.lstrip('# ')}".strip()
    return {name: text.replace("|", "\\|") for name, text in found.items()}


def _written(kind: Any) -> str:
    """A type as a reader of TOML understands it."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _written(parts[0]) + _bounds(parts[1:])
    if origin is typing.Literal:
        return ", ".join(f'`"{word}"`' for word in parts)
    if origin in (list, tuple):
        return f"list of {', '.join(_written(part) for part in parts if part is not Ellipsis)}"
    if origin is dict:
        return "table"
    if parts:
        return " or ".join(dict.fromkeys(_written(part) for part in parts if part is not type(None)))
    return "a section" if _structs(kind) else WORDS.get(kind, kind.__name__)


def _bounds(notes: tuple[Any, ...]) -> str:
    limits = [(sign, getattr(note, name)) for note in notes for name, sign in BOUNDS.items()]
    said = ", ".join(f"{sign} {limit:g}" for sign, limit in limits if limit is not None)
    return f" {said}" if said else ""


def _default(field: Any) -> str:
    if field.required:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__.tag
        return f'`"{tag}"`' if tag else "as below"
    if value is None:
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else repr(value).replace(chr(39), chr(34))}`"


if __name__ == "__main__":
    sys.exit(main())
