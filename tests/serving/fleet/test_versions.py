"""A new version of a model in a real fleet: every replica takes it up; one that is worse is taken back by itself."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.processes import until
from tests.serving import rivals
from tests.serving.fleet.conftest import Begin, Fleet, load

pytestmark = pytest.mark.slow
MOST = 200  # truths, within which a version that believes in a fifth of the noise is to be found
SECTIONS = "[split]\nstable = 0.5\ncanary = 0.5\n[rule]\nminimum = 40\n"


def releases(fleet: Fleet) -> list[dict[str, Any]]:
    """What each replica says of the model."""
    ports = [each["port"] for each in fleet.replicas(phase="ready")]
    return [httpx.get(f"http://127.0.0.1:{port}/models/line/releases", timeout=30).json() for port in ports]


def canary(about: dict[str, Any]) -> str | None:
    label = about["labels"].get("canary")
    return label["version"] if label else None


def answered(client: httpx.Client, generator: np.random.Generator) -> tuple[httpx.Response, str]:
    """What became of a truth by id, and the replica that its request was answered by."""
    field, truth = rivals.case(generator)
    answer = client.post("/predict", json={"inputs": field.tolist()}).raise_for_status()
    replica = answer.headers["x-replica"]
    told = {"id": answer.json()["id"], "truth": truth.tolist()}
    return client.post("/feedback", json=told, headers={"x-replica": replica}), replica


def test_a_version_comes_without_a_failure_and_goes_by_itself_as_it_is_worse(begin: Begin, tmp_path: Path) -> None:
    models, aside = tmp_path / "rivals", tmp_path / "aside"
    rivals.write(models, "1", rivals.heat.NOISE)
    rivals.write(aside, "2", rivals.heat.NOISE / 5)
    words = (f"serving.models={models}", "serving.poll_seconds=0.2", "balancer.method=round_robin")
    fleet, truths, met = begin(*words), 0, set[str]()
    fleet.settled(2)
    with load(fleet.url) as asked, httpx.Client(base_url=fleet.url, timeout=60) as client:
        (aside / "line" / "2").rename(models / "line" / "2")
        (models / "line" / "labels.toml").write_text(rivals.LABELS + SECTIONS)
        until(lambda: [canary(about) for about in releases(fleet)] == ["2", "2"], seconds=60)
        generator = np.random.default_rng(0)
        while truths < MOST and 'canary = "2"' in (models / "line" / "labels.toml").read_text():
            told, replica = answered(client, generator)
            assert told.status_code == 200, told.text
            truths += 1
            met.add(replica)
        until(lambda: [canary(about) for about in releases(fleet)] == ["1", "1"])
    assert not asked.failed
    assert len(met) == 2
    one, other = releases(fleet)
    assert one["events"] == other["events"]
    assert [event["action"] for event in one["events"]] == ["roll_back"]
    assert {version: about["truths"] for version, about in one["versions"].items()} == {"1": truths, "2": truths}
    assert f"over {truths} truths" in one["events"][0]["reason"]


def test_evidence_outlives_the_replica_that_counted_it(begin: Begin, tmp_path: Path) -> None:
    models = tmp_path / "rivals"
    rivals.write_both(models)
    (models / "line" / "labels.toml").write_text(rivals.LABELS + SECTIONS)
    fleet = begin(f"serving.models={models}", minimum=1)
    fleet.settled(1)
    with httpx.Client(base_url=fleet.url, timeout=60) as client:
        generator = np.random.default_rng(0)
        for _ in range(10):
            assert answered(client, generator)[0].status_code == 200
        (before,) = releases(fleet)
        assert fleet.post("/admin/restart").json()["release"] == 2
        until(lambda: "updated" in fleet.events(), seconds=120)
        fleet.settled(1)
        (after,) = releases(fleet)
    assert before["comparison"]["truths"] == 10
    assert after["comparison"] == before["comparison"]
