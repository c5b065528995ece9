"""Each request is counted in its stages and each batch in its own, and together they take no longer than the answer."""

import itertools

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

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
