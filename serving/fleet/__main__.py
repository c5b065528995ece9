"""`python -m serving.fleet --config fleet.toml`."""

import argparse
import functools
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from pnol_jax.errors import InputError
from serving.fleet.config import read_fleet

COMMANDS = {  # beside running a fleet: modules with a `main`
    "alerts": "serving.fleet.alerts.command",
    "manifests": "serving.fleet.kubernetes.command",
    "replay": "serving.fleet.scaling.replay",
}


def main(arguments: Sequence[str]) -> int:
    """Run a fleet; 2 if something handed over is wrong."""
    if arguments and arguments[0] in COMMANDS:
        return int(importlib.import_module(COMMANDS[arguments[0]]).main(arguments[1:]))
    asked = _parser().parse_args(arguments)
    try:
        from serving.fleet.supervisor.process import supervise
        from serving.fleet.supervisor.reading import Reading

        read = functools.partial(read_fleet, asked.config, tuple(asked.overrides))
        supervise(read(), Reading(read), asked.leave)
    except InputError as error:
        print(f"serving.fleet: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.fleet",
        description="Run replicas of the service behind HAProxy on this machine: watched, scaled, healed. "
        f"Other commands: {', '.join(COMMANDS)}.",
    )
    parser.add_argument("--config", type=Path, required=True, help="the TOML file")
    parser.add_argument("--leave", action="store_true", help="at SIGTERM, let the fleet go on by itself")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="over what the file says")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
