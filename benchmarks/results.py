"""One page of all figures: `benchmarks/RESULTS.md` from the files that `make bench` leaves in `runs/bench`.

The page says which benchmarks are missing, and of what misses its goal why, as `misses.toml` has it.
"""

import argparse
import ast
import fnmatch
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.child import ROOT
from experiments.command import run
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically

FOLDER, PAGE = ROOT / "runs" / "bench", Path(__file__).with_name("RESULTS.md")
MISSES = Path(__file__).with_name("misses.toml")
NO_REASON = "no cause is written down."
HEAD = """\
# Results

Written by `make bench`: the figures of each benchmark, what was hoped for beforehand, and whether that was met or by
how much not; in brackets what is required, where that has two sides. What the figures mean is in
[measured.md](../docs/measured.md). Ratios count; seconds are a machine's own.
"""


def main() -> int:
    """Read the files, write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the files NAME.json (default runs/bench)")
    parser.add_argument("--page", type=Path, default=PAGE, help="what is written (default benchmarks/RESULTS.md)")
    asked = parser.parse_args()
    found = {file.stem: json.loads(file.read_text()) for file in sorted(asked.folder.glob("*.json"))}
    if not found:
        raise InputError(f"got no *.json in {asked.folder}, expected figures of benchmarks (`make bench` writes them)")
    write_atomically(asked.page, page(found))
    return 0


def page(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of the files of benchmarks, by name."""
    verdicts = [
        figure["met"] for content in found.values() for figure in content["figures"].values() if "met" in figure
    ]
    summary = f"{sum(verdicts)} of {len(verdicts)} goals are met."
    missing = sorted(benchmarks() - set(found))
    absent = f" Not run: {', '.join(f'`{name}`' for name in missing)}." if missing else ""
    parts = [section(name, content) for name, content in found.items()]
    return "\n".join([HEAD, f"{summary}{absent}\n", *parts])


def benchmarks() -> set[str]:
    """The names of all benchmarks: the modules here that hand over a report."""
    return {file.stem for file in PAGE.parent.glob("*.py") if "argument_parser, report\n" in file.read_text()}


def section(name: str, content: Mapping[str, Any]) -> str:
    """One benchmark: its subject, when and where it ran, and its figures."""
    docstring = ast.get_docstring(ast.parse((PAGE.parent / f"{name}.py").read_text())) or ""
    machine, versions = content["machine"], content["versions"]
    ran = f"{content['date']}, at {content['commit'] or 'no commit'}, {machine['processor']}, {machine['cores']} cores"
    peers = ", ".join(f"{package} {version}" for package, version in versions.items())
    subject = " ".join(docstring.split("\n\n")[0].split())
    lines = [f"## {name}", subject, "", f"`python -m benchmarks.{name}`; {ran}; {peers}.", ""]
    return "\n".join([*lines, *table(content["figures"]), "", *reasons(name, content["figures"])])


def table(figures: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """The figures as lines of Markdown."""
    yield from ("| figure | value | 95% interval | goal | |", "|---|---|---|---|---|")
    for name, figure in figures.items():
        interval = " to ".join(f"{bound:.4g}" for bound in figure.get("interval", ()))
        goal = f"{figure['goal']:.4g}" if "goal" in figure else ""
        goal += (
            f" ({figure['at_least']:.4g} to {figure['at_most']:.4g})" if {"at_least", "at_most"} <= set(figure) else ""
        )
        yield f"| `{name}` | {figure['value']:.4g} {figure['unit']} | {interval} | {goal} | {verdict(figure)} |"


def reasons(name: str, figures: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Why figures miss their goals, as lines of Markdown."""
    why: dict[str, list[str]] = {}
    for figure, content in figures.items():
        if content.get("met") is False:
            why.setdefault(reason(f"{name}.{figure}"), []).append(f"`{figure}`")
    for words, missed in why.items():
        yield f"- {', '.join(missed)}: {words}"
    yield from [""] * bool(why)


def reason(figure: str) -> str:
    """What `misses.toml` says of BENCHMARK.FIGURE."""
    for miss in tomllib.loads(MISSES.read_text())["miss"]:
        if any(fnmatch.fnmatchcase(figure, pattern) for pattern in miss["figures"]):
            return f"{miss['cause']} What would change it: {miss['change'][0].lower()}{miss['change'][1:]}"
    return NO_REASON


def verdict(figure: Mapping[str, Any]) -> str:
    """Whether a goal is met, or by how much it is not: from the bound that is broken where there are two."""
    if "met" not in figure:
        return ""
    if figure["met"]:
        return "met"
    value, goal = figure["value"], figure["goal"]
    if value != value:
        return "missed: not a number"
    if {"at_least", "at_most"} <= set(figure):
        goal = min(max(value, figure["at_least"]), figure["at_most"])
    off = abs(value - goal)
    return f"missed by {100 * off / abs(goal):.2g}%" if goal else f"missed by {off:.4g}"


if __name__ == "__main__":
    run(main)
