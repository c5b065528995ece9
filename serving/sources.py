"""Where settings come from: a TOML file, the environment, flags; each goes before the one named first.

All three are made from the schema: the setting `max_cases` is the key `max_cases` of the file, the variable
`PNOL_SERVING_MAX_CASES` and the flag `--max-cases`.
"""

import argparse
import difflib
import tomllib
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from pnol_jax.errors import InputError

PREFIX = "PNOL_SERVING_"
FILE = "settings"  # the flag and the variable that name the file
FLEET = ("--enable-autoscaling", "--enable-monitoring", "--enable-auth")  # each starts a fleet (`serving.fleet.short`)


def read_sources(schema: type[msgspec.Struct], arguments: Sequence[str], environment: Mapping[str, str]) -> Any:
    """The tree of everything that was said.

    Raises:
        InputError: a flag or a variable with our prefix that is no setting, no such file, no TOML.
    """
    parsed, unknown = _parser(schema).parse_known_args(arguments)
    if unknown:
        known = [flag(FILE), *map(flag, _kinds(schema)), *FLEET]
        near = difflib.get_close_matches(unknown[0].partition("=")[0], known, n=1)
        expected = f"did you mean {near[0]}?" if near else "expected flags that --help lists"
        raise InputError(f"got {unknown[0]!r}, which is no flag; {expected}")
    flags = vars(parsed)
    variables = from_environment(schema, environment)
    file = flags.pop(FILE, None) or variables.pop(FILE, None)
    return _read_toml(file) | variables | flags


def from_environment(schema: type[msgspec.Struct], environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that the environment's variables of our prefix give.

    Raises:
        InputError: one of them is no setting; the nearest is named.
    """
    fields = {variable(name): (name, _reader(kind)) for name, kind in _kinds(schema).items()}
    fields[variable(FILE)] = (FILE, str)
    given = {name: text for name, text in environment.items() if name.startswith(PREFIX)}
    for name in given.keys() - fields.keys():
        near = difflib.get_close_matches(name, fields, n=1, cutoff=0.0)
        raise InputError(f"environment: {name} is no setting; did you mean {near[0]}?")
    return {fields[name][0]: fields[name][1](text) for name, text in given.items()}


def variable(setting: str) -> str:
    """The name of a setting's variable."""
    return PREFIX + setting.upper()


def flag(setting: str) -> str:
    """The name of a setting's flag."""
    return "--" + setting.replace("_", "-")


def describe(field: Any) -> tuple[str, str]:
    """What a setting is for with the words that it admits, and its default as a person writes it."""
    described = next(meta.description for meta in field.type.__metadata__ if meta.description)
    if typing.get_origin(field.type.__origin__) is typing.Literal:
        described += f" [{', '.join(typing.get_args(field.type.__origin__))}]"
    return described, "required" if field.required else _written(field.default)


def _written(value: Any) -> str:
    """As TOML has it; `none`, which TOML has not."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return str(list(value) if isinstance(value, tuple) else value)


def table(schema: type[msgspec.Struct]) -> str:
    """Every setting as a row of Markdown."""
    rows = ["| setting | default | |", "|---|---|---|"]
    for field in msgspec.structs.fields(schema):
        described, default = describe(field)
        shown = default if field.required else f"`{default}`" if default else "empty"
        rows.append(f"| `{field.name}` | {shown} | {described} |")
    return "\n".join(rows) + "\n"


def _parser(schema: type[msgspec.Struct]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving",
        description="Serve the models in a folder over HTTP. A setting is a flag, else a variable of the environment "
        f"({variable('max_cases')} for {flag('max_cases')}), else a key of the file (max_cases).",
        epilog=f"{FLEET[0]}, {FLEET[1]} and {FLEET[2]} start a fleet of such processes behind HAProxy (docs/fleet.md).",
        allow_abbrev=False,
    )
    parser.add_argument(flag(FILE), metavar="FILE", help="a TOML file with any of the settings below")
    for field in msgspec.structs.fields(schema):
        described, default = describe(field)
        parser.add_argument(
            flag(field.name),
            dest=field.name,
            metavar="VALUE",
            default=argparse.SUPPRESS,
            type=_reader(field.type),
            help=f"{described} ({default})".replace("%", "%%"),
        )
    return parser


def _kinds(schema: type[msgspec.Struct]) -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(schema)}


def _reader(kind: Any) -> Any:
    return str if kind.__origin__ is str else _value


def _read_toml(file: str | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"settings {file}: {error}") from None


def _value(text: str) -> Any:
    """A TOML value or `none`; what is neither stays a text, and the schema then says what it expected."""
    if text.lower() == "none":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
