"""Rules and dashboard speak of figures that a real service tells, and of objectives that can be missed."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from jsonschema import Draft7Validator
from prometheus_client.parser import text_string_to_metric_families

from pnol_jax.errors import InputError
from serving.derivatives import DerivativesEndpoint
from serving.fleet.alerts import AlertsConfig, Watched, dashboard, rules
from serving.fleet.alerts.burn import HOURS, PAIRS
from serving.fleet.alerts.dashboard import queries
from serving.fleet.alerts.watched import ANSWERS, FAILED, PREDICTING
from serving.fleet.supervisor.report import metrics as figures_of_supervisor
from serving.predictions import Predictions
from serving.rollouts.endpoint import RolloutEndpoint
from serving.rpc import SERVICE
from serving.settings import Settings
from serving.workers.hub import Hub
from tests.serving.fleet.watching import busy

SCHEMAS = Path(__file__).parent / "schemas"
NOT_OURS = {"up", "ALERTS"}  # Prometheus' own
NO_FIGURES = re.compile(
    r"\{[^}]*\}|\[[^]]*\]|\b(by|without|on)\s*\([^)]*\)|\b(and|or)\b|\b\w+(?=\s*\()|\b(avg|count|max|min|sum)\b"
)


def watched(**changes: object) -> Watched:
    return Watched({"job": "pnol"}, AlertsConfig(**changes), Settings("models"), 1, 4, supervised=True)  # type: ignore[arg-type]


def figures(expression: str) -> set[str]:
    """The names of figures in an expression."""
    return set(re.findall(r"[A-Za-z_:][\w:]*", NO_FIGURES.sub(" ", expression)))


def test_every_figure_of_rules_and_dashboard_is_one_that_a_service_tells(tmp_path: Path) -> None:
    found = [rule for group in rules(watched())["groups"] for rule in group["rules"]]
    recorded = {rule["record"] for rule in found if "record" in rule}
    asked = set().union(*map(figures, [*(rule["expr"] for rule in found), *queries(dashboard(watched()))]))
    with busy.service(tmp_path) as server:
        busy.ask(server)
        told = httpx.get(f"{server.url}/monitoring/metrics").text
    names = {sample.name for family in text_string_to_metric_families(told) for sample in family.samples}
    workers = {sample[0] for family in Hub(1, remembered=1).figures() for sample in family.samples}  # of several
    assert asked - recorded - NOT_OURS <= names | workers | supervisors()
    assert recorded & asked  # names were found at all
    assert len(asked - recorded) > 20


def supervisors() -> set[str]:
    """The names of the supervisor's own figures."""
    roster = SimpleNamespace(replicas={}, names=0)
    illness = SimpleNamespace(looping=False, crashes=SimpleNamespace(row=0))
    cures = SimpleNamespace(illness=illness, verdicts={}, failures=0)
    updates = SimpleNamespace(before=None, rollbacks=0)
    parts = {
        "scale": SimpleNamespace(desired=1),
        "disk": SimpleNamespace(full=False),
        "edge": SimpleNamespace(starts=0),
    }
    fleet: Any = SimpleNamespace(roster=roster, cures=cures, updates=updates, **parts)
    told = figures_of_supervisor(fleet).decode()
    return {sample.name for family in text_string_to_metric_families(told) for sample in family.samples}


def test_names_are_found_in_expressions() -> None:
    expression = 'avg without (worker) (a:b{job="x"}) + sum by (le, y) (rate(c_total{z=~"d|e"}[5m])) / 60'
    assert figures(expression) == {"a:b", "c_total"}


def test_objectives_are_about_the_endpoints_that_answer() -> None:
    grpc = f"/{SERVICE.full_name}/ModelInfer"
    for endpoint in (*Predictions.paths, *DerivativesEndpoint.paths, grpc):
        assert re.fullmatch(ANSWERS, endpoint)
    assert all(re.fullmatch(PREDICTING, path) for path in RolloutEndpoint.paths)
    for endpoint in ("/health/ready", "/monitoring/metrics", "refused", "/stats"):
        assert not re.fullmatch(PREDICTING, endpoint)
    assert [s for s in ("200", "400", "429", "503", "504", "OK", "UNAVAILABLE") if re.fullmatch(FAILED, s)] == [
        "503",
        "504",
        "UNAVAILABLE",
    ]


def test_a_budget_that_burns_at_a_pair_s_rate_lasts_as_long_as_it_says() -> None:
    for pair in PAIRS:
        for days in (7, 30):
            gone = pair.rate(days) * HOURS[pair.long] / (days * 24)
            assert gone == pytest.approx(pair.share)
        assert HOURS[pair.long] / HOURS[pair.short] == pytest.approx(12)
    assert [pair.rate(30) for pair in PAIRS] == pytest.approx([14.4, 6, 3, 1])  # of the workbook


def test_an_objective_that_cannot_be_told_of_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"alerts.latency_seconds: got 0.3, expected a bound of the histogram: \[0.0005"
    ):
        rules(watched(latency_seconds=0.3))
    with pytest.raises(InputError, match=r"alerts.latency_share: got 0.9, expected more than 0.931"):
        rules(watched(latency_share=0.9))


def test_a_fleet_that_may_be_empty_is_not_missed() -> None:
    groups = rules(Watched({"job": "x"}, AlertsConfig(), Settings("m"), 0))
    names = {rule.get("alert") for group in groups["groups"] for rule in group["rules"]}
    assert {"ErrorBudgetBurns", "CrashLoop"} <= names
    assert not {"NoReplicaReady", "ReplicasMissing", "TooFewReplicasAllowed"} & names


def test_the_dashboard_has_the_form_of_grafana_s_and_nothing_overlaps() -> None:
    shown = dashboard(watched())
    schema = msgspec.json.decode((SCHEMAS / "dashboard.json").read_bytes())
    assert not list(Draft7Validator(schema).iter_errors(shown))
    part = {"$schema": schema["$schema"], "definitions": schema["definitions"]}
    taken: set[tuple[int, int]] = set()
    for panel in shown["panels"]:
        for target in panel.get("targets", ()):
            assert not list(Draft7Validator({**part, "$ref": "#/definitions/prometheus.Dataquery"}).iter_errors(target))
        if panel["type"] == "timeseries":
            for name, kind in (("options", "Options"), ("fieldConfig", "FieldConfig")):
                value = panel[name]["defaults"]["custom"] if name == "fieldConfig" else panel[name]
                of = Draft7Validator({**part, "$ref": f"#/definitions/timeseries.{kind}"})
                assert not list(of.iter_errors(value))
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        taken |= cells
    identifiers = [panel["id"] for panel in shown["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    broken = {**shown, "panels": [{**shown["panels"][1], "targets": "none"}]}
    assert list(Draft7Validator(schema).iter_errors(broken))
