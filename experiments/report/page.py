"""The page as a whole: what stands on it, in which order."""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment
from experiments.model import Model
from experiments.report import cases, picture, risk, summary, together
from experiments.report.markup import Html, details, element, join, paragraph, section
from experiments.report.words import Names, names
from experiments.results import TestResults
from pnol_jax.files import write_atomically

STYLE = Path(__file__).with_name("style.css")
PARTS = {
    "figures": "Figures",
    "cases": "Cases",
    "resolution": "Error and resolution",
    "calibration": "Calibration",
    "risk": "Risk",
    "spectra": "Spectra",
    "rollout": "Rollout",
    "learning": "Learning",
    "origin": "Where this came from",
}


def write_report(folder: Path, experiment: Experiment, model: Model, results: Sequence[TestResults]) -> Path:
    """Write `report.html` into a run's folder, one file that needs no other, and `picture.svg` of a case beside it."""
    about = names(experiment)
    config = (folder / "config.toml").read_text(encoding="utf-8")
    provenance = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    content = {
        "figures": [summary.table(results, model.guarantee)],
        "cases": cases.pictures(results, about, experiment.config.calibration.level),
        "resolution": together.errors(results, experiment),
        "calibration": together.calibration(results, about, model.guarantee),
        "risk": risk.tables(results, model, about),
        "spectra": together.spectra(results, about, experiment),
        "rollout": together.rollout(results, about, experiment.config.calibration.level),
        "learning": together.learning(folder),
        "origin": _origin(config, provenance),
    }
    body = [
        _header(experiment, about, provenance),
        paragraph(summary.verdict(results, about, model.guarantee), class_="verdict"),
        summary.tiles(results, experiment, model),
        element("nav", *(element("a", PARTS[anchor], href=f"#{anchor}") for anchor, part in content.items() if part)),
        *(section(anchor, PARTS[anchor], *part) for anchor, part in content.items() if part),
    ]
    level = experiment.config.calibration.level
    write_atomically(folder / "picture.svg", picture.picture(results, about, level))
    path = folder / "report.html"
    write_atomically(path, page(f"{experiment.config.name}: report", body))
    return path


def page(title: str, body: Sequence[Html], style: str = "") -> str:
    """A page that needs no other file; `style` is what it has beyond that of all pages."""
    head = [
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", Html(STYLE.read_text(encoding="utf-8") + style)),
    ]
    whole = element("html", element("head", *head), element("body", element("main", *body)), lang="en")
    return "<!doctype html>\n" + whole + "\n"


def _header(experiment: Experiment, about: Names, provenance: dict[str, Any]) -> Html:
    config = experiment.config
    operator, posterior = (str(type(part).__struct_config__.tag) for part in (config.operator, config.posterior))
    what = about.predicted[:1].upper() + about.predicted[1:]
    made = f"{what}, predicted by {_article(operator)} with a posterior of kind {posterior}"
    written = provenance["written"].replace("T", " ").removesuffix("Z")
    return join([element("h1", config.name), paragraph(f"{made}. Training began {written} UTC.", class_="about")])


def _article(operator: str) -> str:
    named = {"fno": "a Fourier", "ffno": "a factorised Fourier", "uno": "a U-shaped"}
    return f"{named[operator]} neural operator" if operator in named else f"an operator of kind {operator}"


def _origin(config: str, provenance: dict[str, Any]) -> list[Html]:
    pre = functools.partial(element, "pre", tabindex="0")
    rest = {name: value for name, value in provenance.items() if name != "config"}
    data = provenance["data"]
    commit = provenance["commit"] or "unknown (outside a checkout)"
    lines = [
        paragraph(f"Data: {data['cases']} training cases, SHA-256 {data['digest']}."),
        paragraph(f"Code: commit {commit}; Python {provenance['python']} on {', '.join(provenance['devices'])}."),
    ]
    parts = {"Config, with every default": config, "Provenance": json.dumps(rest, indent=2)}
    return [*lines, *(details(title, pre(text)) for title, text in parts.items())]
