"""Each request is counted in its stages and each batch in its own, and together they take no longer than the answer."""

import dataclasses
import itertools
import types

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from serving.ladder import Ladder
from serving.monitoring.alarms import Alarms
from serving.monitoring.stages import Stages
from tests import heat

FIELD = heat.wave(heat.grid(10, 11), 1, 2)[0]


def figures(client: httpx.Client) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(client.get("/monitoring/metrics").text):
        for sample in family.samples:
            if sample.labels.get("endpoint", "/predict") == "/predict" and "le" not in sample.labels:
                key = sample.name + sample.labels.get("stage", "")
                found[key] = found.get(key, 0.0) + sample.value
    return found


def test_requests_and_batches_are_counted_in_their_stages(client: httpx.Client) -> None:
    scales = np.random.default_rng().uniform(1, 2, 4).astype(np.float32)  # new to the cache, run by run
    before = figures(client)
    for scale in itertools.chain(scales, scales):
        response = client.post("/predict", json={"inputs": (scale * FIELD).tolist(), "outputs": ["mean"]})
        assert response.status_code == 200
    cases = np.stack([FIELD * scale for scale in scales[:3] + 3])
    assert client.post("/predict", json={"inputs": cases.tolist(), "outputs": ["mean"]}).status_code == 200
    after = figures(client)
    change = {name: value - before.get(name, 0.0) for name, value in after.items()}
    batches = change["pnol_engine_batches_total"]
    for stage, expected in {
        "decode": 9,
        "encode": 9,
        "cache": 9,
        "queue": 5,  # four were in the cache
        "batch": batches,
        "compute": batches,
    }.items():
        assert change[f"pnol_stage_seconds_count{stage}"] == expected, stage
        assert change[f"pnol_stage_seconds_sum{stage}"] > 0
    assert change["pnol_batch_fill_count"] == batches
    assert 5 <= batches <= 7
    assert 4 < change["pnol_batch_fill_sum"] <= batches
    spent = sum(value for name, value in change.items() if name.startswith("pnol_stage_seconds_sum"))
    assert spent < change["pnol_request_seconds_sum"]
    stages = client.get("/stats").json()["stages"]["heat/1"]
    assert list(stages) == ["decode", "cache", "queue", "batch", "compute", "encode"]


def test_what_was_counted_of_a_version_goes_on_when_its_folder_is_loaded_anew(ladder: Ladder) -> None:
    alarms = Alarms(0.5, cases=3, alarms=1)
    before = dataclasses.replace(ladder, stages=Stages(), alarms=alarms)
    before.stages.queue.observe(1.0)
    anew = dataclasses.replace(ladder, stages=Stages(), alarms=Alarms(0.5))
    assert anew.after(None) is anew
    assert (anew.after(before).stages, anew.after(before).alarms) == (before.stages, alarms)
    other = types.SimpleNamespace(digest="of other content")
    changed = dataclasses.replace(anew, servable=other)  # type: ignore[arg-type]
    assert (changed.after(before).stages, changed.after(before).alarms) == (before.stages, anew.alarms)
