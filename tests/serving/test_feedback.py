"""A real server process: every format tells the id, truths are taken by it, and the rule moves the label."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from tests.processes import until
from tests.serving import rivals
from tests.serving.conftest import running

FLAGS = ["--batch-sizes", "[1]", "--poll-seconds", "0.1"]
SECTIONS = "[split]\nstable = 0.5\ncanary = 0.5\n[rule]\nminimum = 20\n"


def test_truths_that_come_over_http_roll_a_worse_version_back(tmp_path: Path) -> None:
    models, generator = tmp_path / "models", np.random.default_rng(0)
    rivals.write_both(models)
    file = models / "line" / "labels.toml"
    file.write_text(rivals.LABELS + SECTIONS)
    with running(models, tmp_path / "errors", *FLAGS) as server, httpx.Client(base_url=server.url, timeout=60) as own:

        def about() -> dict[str, Any]:
            response = own.get("/models/line/releases")
            assert response.status_code == 200, response.text
            found: dict[str, Any] = response.json()
            return found

        def told(identifier: str, truth: Any) -> dict[str, Any]:
            response = own.post("/feedback", json={"id": identifier, "truth": truth.tolist()})
            assert response.status_code == 200, response.text
            found: dict[str, Any] = response.json()
            return found

        assert about()["comparison"] | {"mean_relative_difference": 0.0} == {
            "base": "1",
            "candidate": "2",
            "metric": "crps",
            "truths": 0,
            "mean_relative_difference": 0.0,
            "p_worse": 1.0,
            "p_better": 1.0,
        }
        answered = set()
        for number in range(200):
            field, truth = rivals.case(generator)
            answer = own.post("/predict", json={"inputs": field.tolist(), "key": str(number)}).json()
            answered.add(answer["version"])
            judged = told(answer["id"], truth)
            assert (judged["version"], judged["counted"]) == (answer["version"], True)
            if about()["labels"]["canary"]["version"] == "1":
                break
        assert answered == {"1", "2"}
        assert file.read_text() == rivals.LABELS.replace('canary = "2"', 'canary = "1"') + SECTIONS
        after = about()
        assert [event["action"] for event in after["events"]] == ["roll_back"]
        assert after["comparison"] is None
        assert after["versions"]["1"]["crps"] < after["versions"]["2"]["crps"]
        assert "roll_back: crps of version 2 worse than of 1" in server.errors.read_text()
        figures = {
            (sample.name, sample.labels["version"], sample.labels.get("score")): sample.value
            for family in text_string_to_metric_families(own.get("/monitoring/metrics").text)
            for sample in family.samples
            if sample.name.startswith("pnol_version")
        }
        for version, expected in after["versions"].items():
            assert figures["pnol_version_requests_total", version, None] == expected["requests"]
            assert figures["pnol_version_truths_total", version, None] == expected["truths"]
            assert figures["pnol_version_score", version, "crps"] == expected["crps"]
        for number in range(20):
            answer = own.post("/predict", json={"inputs": field.tolist(), "key": str(number)}).json()
            assert answer["version"] == "1"

        file.write_text('stable = "2"\n')  # as a person would
        until(lambda: about()["labels"] == {"stable": {"target": "2", "version": "2", "last": "2"}})
        assert own.post("/predict", json={"inputs": field.tolist()}).json()["version"] == "2"
        assert own.get("/models/wave/releases").status_code == 404


def test_an_id_is_the_client_s_or_is_given_where_a_truth_is_wanted(tmp_path: Path) -> None:
    models, (field, truth) = tmp_path / "models", rivals.case(np.random.default_rng(1))
    rivals.write_both(models)
    with running(models, tmp_path / "errors", *FLAGS) as server, httpx.Client(base_url=server.url, timeout=60) as own:

        def told(**body: Any) -> dict[str, Any]:
            response = own.post("/feedback", json={"truth": truth.tolist(), **body})
            assert response.status_code == 200, response.text
            found: dict[str, Any] = response.json()
            return found

        asked = {"inputs": field.tolist()}
        assert "id" not in own.post("/predict", json=asked).json()  # nobody waits for a truth
        assert own.post("/predict", json={**asked, "id": "json"}).json()["id"] == "json"
        content = io.BytesIO()
        np.save(content, field)
        headers = {"content-type": "application/x-npy"}
        response = own.post("/predict?id=npy", content=content.getvalue(), headers=headers)
        assert json.loads(response.headers["answer"])["id"] == "npy"
        tensor = {"name": "inputs", "shape": field.shape, "datatype": "FP32", "data": field.ravel().tolist()}
        response = own.post("/v2/models/line/infer", json={"id": "v2", "inputs": [tensor]})
        assert response.json()["id"] == "v2"
        first = told(id="json")
        assert (first["version"], first["counted"]) == ("2", True)
        again = [told(id="v2"), told(**asked), told(**asked, version="2")]
        assert not any(judged["counted"] for judged in again)
        assert [judged["scores"] for judged in again] == [first["scores"]] * 3
        other = told(**asked, version="1")
        assert (list(other["scores"]), other["counted"]) == (["1"], True)
        assert own.post("/feedback", json={"id": "npy", "truth": [[1.0]]}).status_code == 400
