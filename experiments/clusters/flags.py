"""Every field of `Request` as a flag of the command line, over the defaults of a site's file."""

import argparse
from typing import Any

import msgspec

from experiments.clusters.interface import Request
from pnol_jax import toml
from pnol_jax.errors import InputError


def add(parser: argparse.ArgumentParser) -> None:
    """Add `--site` and a flag for each field."""
    group = parser.add_argument_group("what the job asks for")
    group.add_argument("--site", metavar="FILE", help="TOML file with defaults for these flags: nodes = 2, ...")
    for field in msgspec.structs.fields(Request):
        described = next(meta.description for meta in field.type.__metadata__ if meta.description)
        group.add_argument(_flag(field.name), help=described, default=argparse.SUPPRESS, **_form(_kind(field)))


def read(asked: argparse.Namespace) -> Request:
    """What was asked for.

    Raises:
        InputError: a value that the field does not admit, in the file or on the command line.
    """
    site = toml.load(asked.site, Request) if asked.site else Request()
    given = {f.name: _value(f, getattr(asked, f.name)) for f in msgspec.structs.fields(Request) if f.name in asked}
    return toml.parse(msgspec.structs.asdict(site) | given, Request, "flags")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _kind(field: msgspec.structs.FieldInfo) -> object:
    return type(field.default) if field.default is not msgspec.NODEFAULT else field.default_factory


def _form(kind: object) -> dict[str, Any]:
    """How argparse is to read a kind of value."""
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if kind is int:
        return {"type": int, "metavar": "N"}
    if kind is dict:
        return {"action": "append", "metavar": "NAME=VALUE"}
    return {"action": "append", "metavar": "ONE"} if kind is list else {"metavar": "WORD"}


def _value(field: msgspec.structs.FieldInfo, given: Any) -> Any:
    if _kind(field) is not dict:
        return [name for word in given for name in word.split(",")] if field.name == "hosts" else given
    pairs = [word.partition("=") for word in given]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise InputError(f"{_flag(field.name)} {wrong[0]}: expected NAME=VALUE")
    return {name: value for name, _, value in pairs}
