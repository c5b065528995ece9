"""The short form: `python -m serving --models DIR --enable-autoscaling --enable-monitoring --enable-auth`.

Any of the three starts a fleet with the defaults; all other flags are settings of its replicas, except host and port,
which are those of the balancer before them.
"""

import argparse
import functools
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pnol_jax import toml
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from serving.fleet.config import FleetConfig
from serving.fleet.supervisor.process import supervise
from serving.fleet.supervisor.reading import Reading
from serving.saying import say
from serving.settings import Settings
from serving.sources import FLEET, read_sources
from serving.tokens import SCOPES, Tokens, add_token, read_tokens

HOLDER = "fleet"


def run(arguments: Sequence[str]) -> None:
    """Run such a fleet until SIGTERM.

    Raises:
        InputError: something in the flags is wrong, or cannot be had.
    """
    read = functools.partial(configured, arguments)
    config = read()
    if config.replicas.token:
        say(f"a token for all scopes is in {own_token(config)}")
    supervise(config, Reading(read), leave=False)


def configured(arguments: Sequence[str]) -> FleetConfig:
    """The config that the flags stand for."""
    asked, rest = _parser().parse_known_args(arguments)
    settings = read_sources(Settings, rest, os.environ)
    edge = {name: settings.pop(name) for name in ("host", "port") if name in settings}
    tree: dict[str, Any] = {"serving": settings, "balancer": edge, "supervisor": {}}
    if not asked.enable_autoscaling:
        tree |= {"maximum": 1, "scaling": {"spares": 0}}
    if not asked.enable_monitoring:
        tree["supervisor"]["port"] = None
    if asked.enable_auth:
        place = FleetConfig().place()
        settings.setdefault("tokens", str(place / "tokens.toml"))
        tree["replicas"] = {"token": str(place / "token")}
    return toml.parse(tree, FleetConfig, "flags")


def own_token(config: FleetConfig) -> Path:
    """The file of the fleet's own token, which is made where the one in it is none that the file of tokens lets in.

    Raises:
        InputError: one of the files cannot be read.
    """
    file, tokens = Path(config.replicas.token), Path(str(config.serving["tokens"]))
    try:
        held = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"replicas.token {file}: {error}") from None
    if not (tokens.exists() and Tokens(tokens).find(held)):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        holders = read_tokens(tokens) if tokens.exists() else {}
        names = itertools.chain([HOLDER], (f"{HOLDER}-{number}" for number in itertools.count(2)))
        word = add_token(tokens, next(name for name in names if name not in holders), SCOPES)
        write_atomically(file, f"{word}\n", mode=0o600)
    return file


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", add_help=False, allow_abbrev=False)
    for flag in FLEET:  # autoscaling: else one replica, that is healed; auth: bearer tokens, of which one is made
        parser.add_argument(flag, action="store_true")
    return parser
