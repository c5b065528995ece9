"""`python -m serving.fleet manifests --config fleet.toml`: a fleet's config as manifests for Kubernetes.

They are JSON, which is YAML too: `python -m serving.fleet manifests --config fleet.toml | kubectl apply -f -`.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pnol_jax.errors import InputError
from serving.fleet.alerts.command import write
from serving.fleet.config import read_fleet
from serving.fleet.kubernetes.manifests import check, manifests
from serving.fleet.kubernetes.policies import adapter, kept, left_out


def main(arguments: Sequence[str]) -> int:
    """Write them; 2 if something handed over is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.fleet manifests", description="Write manifests for Kubernetes from a fleet's config."
    )
    parser.add_argument("--config", type=Path, required=True, help="the TOML file of the fleet")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for a file each, and in its folder adapter the values of the adapter of Prometheus; "
        "none: one list on standard output",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="laid over the file, or a file ending in .toml"
    )
    asked = parser.parse_args(arguments)
    try:
        fleet = read_fleet(asked.config, tuple(asked.overrides))
        found = manifests(fleet)
        check(found)
        if asked.out is None:
            print(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(found.values())}, indent=2))
        else:
            write(asked.out, found)
            write(asked.out / "adapter", {"values": adapter(fleet)})  # a folder of its own, not for kubectl
        if kinds := left_out(fleet):
            by = ", ".join(kept(fleet))
            print(f"scaling: {', '.join(kinds)}: not known to Kubernetes, which scales by {by}", file=sys.stderr)
    except InputError as error:
        print(f"serving.fleet: {error}", file=sys.stderr)
        return 2
    return 0
