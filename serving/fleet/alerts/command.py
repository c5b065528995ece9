"""`python -m serving.fleet alerts --config fleet.toml --out DIR`: what Prometheus, Grafana and Alertmanager take.

The files are JSON, which is YAML too. Figures are those of the job with the fleet's name, its targets replicas and
supervisor: in `prometheus.yml` `scrape_configs: [{job_name: NAME, metrics_path: /monitoring/metrics, ...}]` and
`rule_files: [DIR/rules.json]`.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pnol_jax import toml
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from serving.fleet.alerts import Watched, alertmanager, dashboard, rules
from serving.fleet.config import FleetConfig, read_fleet
from serving.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """Write them; 2 if something handed over is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.fleet alerts", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--config", type=Path, required=True, help="the TOML file of the fleet")
    parser.add_argument("--out", type=Path, required=True, help="folder for rules, dashboard and alertmanager")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="laid over the file")
    asked = parser.parse_args(arguments)
    try:
        write(asked.out, monitoring(read_fleet(asked.config, tuple(asked.overrides))))
    except InputError as error:
        print(f"serving.fleet: {error}", file=sys.stderr)
        return 2
    return 0


def monitoring(fleet: FleetConfig) -> dict[str, Any]:
    """By name, for a fleet whose figures have the label `job` and no other of its own.

    Raises:
        InputError: an objective that the figures cannot tell of.
    """
    settings = toml.parse({"models": "", **fleet.serving}, Settings, "serving")
    watched = Watched({"job": fleet.name}, fleet.alerts, settings, fleet.minimum, fleet.most(), supervised=True)
    return {
        "rules": rules(watched),
        "dashboard": dashboard(watched),
        "alertmanager": alertmanager(fleet.alerts),
    }


def write(folder: Path, found: Mapping[str, Any]) -> None:
    """Each as `NAME.json`.

    Raises:
        InputError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in found.items():
            write_atomically(folder / f"{name}.json", json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"--out: {error}") from None
