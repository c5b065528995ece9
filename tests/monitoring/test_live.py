"""A real Prometheus scrapes a real service: each query of the dashboard is answered, an alert reaches its receiver."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pnol_jax import toml
from serving.fleet.alerts.burn import BASE
from serving.fleet.alerts.command import monitoring
from serving.fleet.alerts.dashboard import queries
from serving.fleet.alerts.panels import STEP
from serving.fleet.config import FleetConfig
from tests.monitoring import programs
from tests.monitoring.programs import query
from tests.processes import until
from tests.serving.conftest import Server
from tests.serving.fleet.watching import busy

SOON = {"hold_seconds": 1, "evaluation_seconds": 1}
JOB = "pnol"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if reason := programs.missing(programs.PROMETHEUS, programs.ALERTMANAGER):
        pytest.skip(reason)
    with busy.service(tmp_path_factory.mktemp("service")) as server:
        yield server


def test_queries_are_answered_and_alerts_delivered(service: Server, tmp_path: Path) -> None:
    with programs.webhook() as (url, came):
        fleet = toml.parse({"name": JOB, "maximum": 4, "alerts": {**SOON, "webhook": url}}, FleetConfig, "test")
        files = monitoring(fleet)
        (tmp_path / "rules.json").write_text(json.dumps(files["rules"]))
        target = service.url.removeprefix("http://")
        with (
            programs.alertmanager(tmp_path, soon(files["alertmanager"])) as alerts,
            programs.prometheus(tmp_path, JOB, target, tmp_path / "rules.json", alerts) as prometheus,
        ):
            scraped_while_busy(service, prometheus)
            until(
                lambda: not unanswered(prometheus, files["dashboard"]),
                "every panel shows something",
                httpx.HTTPError,
                seconds=120,
            )
            expected = {"ErrorBudgetBurns", "InputDrift", "CoverageDrift"}
            told = until(lambda: expected <= firing(came) and came, "alerts", seconds=120)
            burning = next(each for each in all_of(told) if each["labels"]["alertname"] == "ErrorBudgetBurns")
            assert (burning["labels"]["job"], burning["status"]) == (JOB, "firing")
            assert re.match(r"[\d.]+% of pnol's requests fail in ", burning["annotations"]["summary"])
            assert (
                recommended(prometheus) == httpx.get(f"{service.url}/monitoring/scaling").json()["recommended_replicas"]
            )
            assert "NoReplicaReady" not in firing(came)
            assert service.stop() == 0
            until(lambda: "NoReplicaReady" in firing(came), "the alarm that no replica is ready", seconds=120)


def scraped_while_busy(service: Server, prometheus: str) -> None:
    """A rate is of two scrapes: one before the requests, one after; and requests of which Prometheus saw the first."""
    busy.ask(service, 1)
    until(
        lambda: query(prometheus, f'pnol_requests_total{{job="{JOB}", status="504"}}'),
        "a scrape with a failure",
        httpx.HTTPError,
        seconds=120,
    )
    busy.ask(service)


def unanswered(prometheus: str, dashboard: dict[str, Any]) -> list[str]:
    """Queries of the dashboard without an answer; without a supervisor its own are understood at least."""
    empty = [asked for asked in queries(dashboard) if not query(prometheus, asked.replace(STEP, BASE))]
    return [asked for asked in empty if "pnol_fleet_" not in asked]


def recommended(prometheus: str) -> int:
    (found,) = query(prometheus, "pnol:replicas:recommended")
    return int(found["value"][1])


def soon(config: dict[str, Any]) -> dict[str, Any]:
    """The example without its patience."""
    route = {**config["route"], "group_wait": "1s", "group_interval": "1s"}
    return {**config, "route": {**route, "routes": [{**each, "group_wait": "1s"} for each in route["routes"]]}}


def all_of(came: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [alert for message in came for alert in message["alerts"]]


def firing(came: list[dict[str, Any]]) -> set[str]:
    """Names of the alerts that came."""
    return {alert["labels"]["alertname"] for alert in all_of(came) if alert["status"] == "firing"}
