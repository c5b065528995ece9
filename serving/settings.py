"""Every limit and default of the service, in one place. Flags override a TOML file, which overrides these."""

import argparse
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from pnol_jax import toml
from pnol_jax.errors import InputError

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The service's settings; a flag `--max-body-bytes` stands for `max_body_bytes`, and so on."""

    models: str  # folder of NAME/VERSION/
    host: str = "127.0.0.1"
    port: Port = 8080  # 0: one that is free, named in the ready line

    batch_sizes: tuple[Count, ...] = (1, 2, 4, 8, 16)  # compiled at start for mean and variances
    samples_batch_sizes: tuple[Count, ...] = (1, 2, 4)  # the same for draws
    queue_cases: Count = 1024  # cases waiting, beyond which requests get 503
    deadline_seconds: Seconds = 30.0  # from the whole body to the answer, unless the request asks for less

    cache_bytes: Annotated[int, msgspec.Meta(ge=0)] = 256 * 2**20  # 0 turns it off
    operands_cached: Count = 64  # batches of grid operands kept on the device

    max_cases: Count = 256  # in one request
    max_body_bytes: Count = 64 * 2**20
    max_header_bytes: Count = 64 * 2**10
    max_connections: Count = 1024
    header_seconds: Seconds = 10.0  # for a connection to send its request's head
    body_seconds: Seconds = 30.0  # and its body
    keep_alive_seconds: Count = 30
    drain_seconds: Count = 30  # for requests under way after SIGTERM

    utilisation_window: Seconds = 60.0  # seconds over which the engine's utilisation is measured
    utilisation_target: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.7  # recommended replicas keep to this


def read_settings(arguments: Sequence[str]) -> Settings:
    """The settings from command line flags.

    Raises:
        InputError: a value of the wrong type or out of range, sizes that do not increase, no such file or folder.
    """
    given = vars(_parser().parse_args(arguments))
    tree = _read_toml(given.pop("settings"))
    tree |= {name: value for name, value in given.items() if value is not None}
    settings = toml.parse(tree, Settings, "settings")
    for name in ("batch_sizes", "samples_batch_sizes"):
        sizes = getattr(settings, name)
        if not sizes or sizes[0] != 1 or list(sizes) != sorted(set(sizes)):
            raise InputError(f"{name}: got {list(sizes)}, expected increasing sizes that begin with 1")
    if settings.max_cases > settings.queue_cases:
        raise InputError(f"max_cases: got {settings.max_cases}, expected at most queue_cases, {settings.queue_cases}")
    if not Path(settings.models).is_dir():
        raise InputError(f"models: no folder {settings.models!r}")
    return settings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve the models in a folder over HTTP.")
    parser.add_argument("--settings", metavar="FILE", help="a TOML file with any of the settings below")
    for field in msgspec.structs.fields(Settings):
        shown = list(field.default) if isinstance(field.default, tuple) else field.default
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            dest=field.name,
            metavar="VALUE",
            type=str if field.type is str else _value,
            help="required" if field.required else f"default {shown}",
        )
    return parser


def _read_toml(file: str | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"settings {file}: {error}") from None


def _value(text: str) -> Any:
    """A TOML value; what is none stays a text, and the schema then says what it expected."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
