"""Fetch a published data set: `python -m experiments.fetch darcy [--to FOLDER] [--wheel FILE]`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from experiments.command import run
from pnol_jax.data.fetch import DARCY, Bundle, fetch

BUNDLES: dict[str, Bundle] = {"darcy": DARCY}


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch a set into a folder, unless it is there already; print where its files are."""
    parser = argparse.ArgumentParser(prog="python -m experiments.fetch", description=__doc__)
    parser.add_argument("name", choices=sorted(BUNDLES), help="the data set")
    parser.add_argument("--to", type=Path, help="the folder for its files (data/NAME)")
    parser.add_argument("--wheel", type=Path, help="the published wheel, where there is no network")
    given = parser.parse_args(arguments)
    files, fetched = fetch(BUNDLES[given.name], given.to or Path("data") / given.name, given.wheel)
    print("fetched:" if fetched else "there already:")
    for file in files:
        print(f"  {file}")
    return 0


if __name__ == "__main__":
    run(main)
