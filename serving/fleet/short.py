"""The short form: `python -m serving --models DIR --enable-autoscaling --enable-monitoring --enable-auth`.

Any of the three starts a fleet with the defaults; all other flags are settings of its replicas, except host and port,
which are those of the balancer before them.
"""

import argparse
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pnol_jax import toml
from serving.fleet.config import FleetConfig
from serving.fleet.supervisor.process import supervise
from serving.fleet.supervisor.reading import Reading
from serving.saying import say
from serving.settings import Settings
from serving.sources import FLEET, read_sources
from serving.tokens import SCOPES, add_token

HOLDER = "fleet"


def run(arguments: Sequence[str]) -> None:
    """Run such a fleet until SIGTERM.

    Raises:
        InputError: something in the flags is wrong, or cannot be had.
    """
    read = functools.partial(configured, arguments)
    config = read()
    if config.replicas.token:
        say(f"a token for all scopes is in {_token(config)}")
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


def _token(config: FleetConfig) -> Path:
    """The file of the fleet's own token, which is made at the first start."""
    file = Path(config.replicas.token)
    if not file.exists():
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        word = add_token(Path(str(config.serving["tokens"])), HOLDER, SCOPES)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as opened:
            opened.write(f"{word}\n")
    return file


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving", add_help=False, allow_abbrev=False)
    for flag in FLEET:  # autoscaling: else one replica, that is healed; auth: bearer tokens, of which one is made
        parser.add_argument(flag, action="store_true")
    return parser
