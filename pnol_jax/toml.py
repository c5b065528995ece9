"""Reading TOML into structs: overlays, dotted overrides, errors that name the path and the nearest known key."""

import difflib
import re
import tomllib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pnol_jax.errors import InputError
from pnol_jax.overlays import is_overlay, overlaid

T = TypeVar("T")


def load(path: str | Path, schema: type[T], overrides: Sequence[str] = ()) -> T:
    """Read a TOML file, apply overrides, check it against a schema of structs.

    Args:
        path: of the file.
        schema: of all of it.
        overrides: in this order, each `section.key=value`, or a path ending in .toml: a file of keys that are laid over
            the others (`pnol_jax.overlays`).

    Raises:
        InputError: no such file, no TOML, an unknown key (with the nearest known one), a value of the wrong type.
    """
    files = [str(path), *filter(is_overlay, overrides)]
    values = [override for override in overrides if not is_overlay(override)]
    return parse(overridden(read(path), overrides, schema), schema, " with ".join(files), values)


def read(path: str | Path) -> dict[str, Any]:
    """The tree of a TOML file.

    Raises:
        InputError: no such file, no TOML.
    """
    file = Path(path)
    if not file.is_file():
        raise InputError(f"config: no file {str(path)!r}")
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"config {path}: not TOML: {error}") from None


def overridden(tree: dict[str, Any], overrides: Sequence[str], schema: Any) -> dict[str, Any]:
    """The tree with the overrides of `load` set in it.

    Raises:
        InputError: an override of another form, one that takes a value for a section, or an overlay that is not there.
    """
    for override in overrides:
        if is_overlay(override):
            tree = overlaid(tree, read(override), schema)
        else:
            _set(tree, override)
    return tree


def parse(tree: Any, schema: type[T], where: str, overrides: Sequence[str] = ()) -> T:
    """Check a tree of plain values against a schema of structs.

    Where a section can be of several kinds and gives no `name`, it is of the kind that it is by default. An error is
    said to be in the override that set the value, if one did, and else in `where`.
    """
    tree = _named(tree, schema)
    try:
        return msgspec.convert(tree, schema)
    except msgspec.ValidationError as error:
        key, said = _explain(str(error), tree, schema)
        blamed = [word for word in overrides if _is_of(key, word.partition("=")[0])]
        raise InputError(f"{f'override {blamed[-1]!r}' if blamed else where}: {said}") from None


def _is_of(key: str, word: str) -> bool:
    """Whether one of two keys is the other or within it."""
    return key == word or key.startswith((f"{word}.", f"{word}[")) or word.startswith(f"{key}.")


def _named(tree: Any, schema: Any) -> Any:
    """The tree with the name of the default kind in each section that gives none."""
    if not isinstance(tree, dict):
        return tree
    kinds = {field.name: getattr(field.default, "__struct_config__", None) for field in msgspec.structs.fields(schema)}
    return tree | {
        key: {kind.tag_field: kind.tag} | tree[key]
        for key, kind in kinds.items()
        if kind is not None and kind.tag is not None and isinstance(tree.get(key), dict)
    }


def _set(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"override {override!r}: expected section.key=value, or FILE.toml")
    put(tree, key, _value(text), f"override {override!r}")


def put(tree: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Set the value of a dotted key in a tree.

    Raises:
        InputError: on the way to it there is a value where a section is expected.
    """
    *sections, last = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise InputError(f"{where}: {section!r} is a value, not a section")
    tree[last] = value


def _value(text: str) -> Any:
    """A TOML value; a bare word is a string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(message: str, tree: Any, schema: Any) -> tuple[str, str]:
    """Which key is wrong, and msgspec's message with its path as a person writes it and what would be right."""
    what, _, path = message.partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    place = path or "top level"
    unknown = re.search(r"unknown field `(.*)`", what)
    if unknown is None:
        missing = re.search(r"missing required field `(.*)`", what)
        key = f"{path}.{missing[1]}".lstrip(".") if missing else path
        return key, f"{place}: {what}{_expected(what, tree, schema, path)}"
    struct = _struct_at(schema, tree, path)
    known = [field.name for field in msgspec.structs.fields(struct)]
    near = _elsewhere(schema, tree, unknown[1]) or _near(unknown[1], known, struct.__struct_config__.tag_field)
    kind = f" of {struct.__struct_config__.tag!r}" if struct.__struct_config__.tag else ""
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known keys{kind}: {', '.join(known)}"
    return f"{path}.{unknown[1]}".lstrip("."), f"{place}: unknown key {unknown[1]!r}; {hint}"


def _near(word: str, known: list[str], tag: str | None) -> list[str]:
    """The key that is most like a word, and another one where that is hardly less so."""
    near = difflib.get_close_matches(word, [*known, *([tag] if tag else [])], n=2, cutoff=0.5)
    alike = [difflib.SequenceMatcher(None, key, word).ratio() for key in near]
    return [key for key, ratio in zip(near, alike, strict=True) if ratio > alike[0] - 0.1]


def _elsewhere(schema: Any, tree: Any, key: str) -> list[str]:
    """The sections, as they are chosen, that have a key of this name."""
    found = []
    for field in msgspec.structs.fields(schema):
        options = [kind for kind in _options(field.type) if hasattr(kind, "__struct_fields__")]
        section = tree.get(field.name, {})
        if options and isinstance(section, dict) and key in _chosen(options, section).__struct_fields__:
            found.append(f"{field.name}.{key}")
    return found


def _expected(what: str, tree: Any, schema: Any, path: str) -> str:
    """What may stand at a path, where msgspec does not say it: the choices of a name, the brackets of a list."""
    if what.startswith("Invalid"):
        section, _, key = path.rpartition(".")
        named = key in ("name", "kind") and _tags(schema, tree, section)
        names = named or _choices(schema, tree, section, key)
        return f", expected one of {names}" if names else ""
    if what.startswith(("Expected `array`, got `int`", "Expected `array`, got `float`")):
        number = _resolve(schema, tree, path)[1]
        return f"; expected a list such as [{number}, {number}]"
    if what.startswith("Expected `array`, got `str`"):
        kinds, word = _resolve(schema, tree, path)
        word = '", "'.join(part.strip(" '\"") for part in word.strip("[] ").split(","))  # words in no quotation marks
        return f'; expected ["{word}"]' if any(kind is str or isinstance(kind, str) for kind in kinds) else ""
    if what.startswith("Expected") and "got" not in what:
        value = _resolve(schema, tree, path)[1]
        return f", got {value!r}" if isinstance(value, int | float | str) else ""
    return ""


def _choices(schema: Any, tree: Any, section: str, key: str) -> list[Any]:
    """The words that a key of a section admits, or an entry `key[i]` of a list."""
    struct, name = _struct_at(schema, tree, section), key.partition("[")[0]
    kind: Any = next((field.type for field in msgspec.structs.fields(struct) if field.name == name), None)
    while kind is not None and typing.get_origin(kind) is not typing.Literal:
        kind = next(iter(typing.get_args(kind)), None)
    return list(typing.get_args(kind))


def _options(kind: Any) -> list[Any]:
    """What a field's type admits, a list's entries in place of the list."""
    if typing.get_origin(kind) is list:
        return _options(typing.get_args(kind)[0])
    kinds = typing.get_args(kind) or (kind,)
    return [each for each in kinds if each is not type(None)]


def _resolve(schema: Any, tree: Any, path: str) -> tuple[list[Any], Any]:
    """The structs that may stand at a path such as `data.axes[1]`, and what stands there."""
    options = [schema]
    for key in re.findall(r"[^.\[\]]+", path):
        if key.isdigit():
            tree = tree[int(key)]
            continue
        struct = _chosen(options, tree)
        options = next(_options(field.type) for field in msgspec.structs.fields(struct) if field.name == key)
        tree = tree[key]
    return options, tree


def _chosen(options: list[Any], tree: Any) -> Any:
    tagged = [option for option in options if _is_tagged(option) and _tag_in(option, tree)]
    return tagged[0] if len(options) > 1 and tagged else options[0]


def _tag_in(option: Any, tree: Any) -> bool:
    config = option.__struct_config__
    return bool(config.tag == tree.get(config.tag_field))


def _struct_at(schema: Any, tree: Any, path: str) -> Any:
    return _chosen(*_resolve(schema, tree, path))


def _tags(schema: Any, tree: Any, path: str) -> list[str]:
    return [option.__struct_config__.tag for option in _resolve(schema, tree, path)[0] if _is_tagged(option)]


def _is_tagged(option: Any) -> bool:
    return getattr(option, "__struct_config__", None) is not None and option.__struct_config__.tag is not None
