"""A real server process whose folder changes while clients ask: nobody notices but by the version that answers."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests import heat
from tests.processes import until
from tests.serving.conftest import running

FIELD, SOLUTION = heat.wave(heat.grid(12), 1)
FLAGS = ["--batch-sizes", "[1, 4]", "--cache-bytes", "0", "--repository-control", "true", "--poll-seconds", "0.1"]


def write(models: Path, version: str) -> None:
    heat.write(models, "line", version, axes=1, signature=heat.signature(1, ["moments"]))


def test_versions_come_and_go_under_load_without_a_failed_request(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write(models, "1")
    with running(models, tmp_path / "errors", *FLAGS) as server:
        over, answered = threading.Event(), [set[str]() for _ in range(4)]

        def client(number: int) -> None:
            with httpx.Client(base_url=server.url, timeout=60) as own:
                while not over.is_set():
                    response = own.post("/predict", json={"inputs": FIELD.tolist(), "outputs": ["mean"]})
                    assert response.status_code == 200, response.text
                    np.testing.assert_allclose(response.json()["outputs"]["mean"], SOLUTION, atol=1e-6)
                    answered[number].add(response.json()["version"])

        def states() -> dict[str, str]:
            found = httpx.get(f"{server.url}/models").json()["models"]
            return {model["version"]: model["state"] for model in found}

        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(client, number) for number in range(4)]
            try:
                until(lambda: all(answered))
                write(models, "2")
                until(lambda: states() == {"1": "ready", "2": "ready"})
                shutil.copytree(models / "line" / "1", models / "line" / "3")  # its manifest says 1
                until(lambda: states().get("3") == "failed")
                shutil.rmtree(models / "line" / "1")
                until(lambda: "1" not in states())
                until(lambda: answered == [{"1", "2"}] * 4)
            finally:
                over.set()
            for done in clients:
                done.result()
        assert "line/3: servable" in server.errors.read_text()
        assert server.stop() == 0


def test_the_protocol_loads_unloads_and_lists(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write(models, "1")
    write(models, "2")
    (models / "line" / "labels.toml").write_text('stable = "1"\n')
    flags = [*FLAGS[:-1], "0"]
    with running(models, tmp_path / "errors", *flags) as server, httpx.Client(base_url=server.url, timeout=60) as own:

        def listed(**body: Any) -> list[tuple[str, str]]:
            found = own.post("/v2/repository/index", json=body).json()
            assert all(set(model) == {"name", "version", "state", "reason"} for model in found)
            return [(model["version"], model["state"]) for model in found]

        def ask(version: str) -> int:
            return own.post("/predict", json={"inputs": FIELD.tolist(), "version": version}).status_code

        def act(what: str, **body: Any) -> httpx.Response:
            return own.post(f"/v2/repository/models/line/{what}", json=body)

        assert listed() == [("1", "READY"), ("2", "READY")]
        assert [model["labels"] for model in own.get("/models").json()["models"]] == [["stable"], []]
        assert own.get("/v2/models/line/versions/stable").status_code == 200
        assert act("unload", parameters={"version": "2"}).status_code == 200
        until(lambda: listed() == [("1", "READY"), ("2", "UNAVAILABLE")])
        assert listed(ready=True) == [("1", "READY")]
        assert (ask("1"), ask("stable"), ask("2")) == (200, 200, 404)
        write(models, "3")
        assert act("load").status_code == 200
        assert listed(ready=True) == [("1", "READY"), ("2", "READY"), ("3", "READY")]
        weights = models / "line" / "3" / "weights.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
        response = act("load", parameters={"version": "3"})
        assert response.status_code == 400
        assert "got SHA-256" in response.json()["error"]
        assert ask("3") == 200  # the programs from before
        assert act("unload", parameters={"unload_dependents": True}).status_code == 200
        assert own.get("/health/ready").status_code == 503
        assert own.post("/v2/repository/models/..%2f..%2fetc/load").status_code == 404
        response = act("load", parameters={"version": "../1"})
        assert (response.status_code, "version: got '../1'" in response.json()["error"]) == (400, True)
        assert own.post("/v2/repository/models/%2e%2e/load").status_code in (400, 404)
