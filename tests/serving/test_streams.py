"""A real server streams rollouts to whoever reads bytes, and answers derivatives that a design loop can use."""

import asyncio
import json
import re
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import jax
import jsonschema
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pnol_jax.bases import make_operands, stack_operands
from serving.client import Abstained, AsyncClient, Client, Refused
from serving.openapi import document
from tests import heat, marching
from tests.processes import until
from tests.serving.conftest import Server, running

POINTS, STEPS, SEED = 13, 6, 7
CLOSE = 1e-5  # float32: some hundred roundings of values of order one
FIRST = marching.first(POINTS)
GRID = heat.grid(POINTS)
BASES = marching.signature(1).bases()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    marching.write(folder)
    flags = ["--batch-sizes", "[1]", "--samples-batch-sizes", "[1]", "--send-seconds", "1"]
    flags += ["--rollout-steps", "1000000", "--log-format", "json", "--access-log", "1"]
    with running(folder, tmp_path_factory.mktemp("log") / "errors", *flags) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


@pytest.fixture(scope="module")
def states() -> NDArray[np.float32]:
    """The library's own, on the grid without padding, (steps, draws, points, 1)."""
    return marching.marched(FIRST, make_operands(GRID, BASES), SEED, 0, STEPS)


def mean(inputs: Any) -> jax.Array:
    weights: Any = heat.weights(1)
    operands = stack_operands([make_operands(GRID, BASES)])
    return marching.predict(weights, inputs[None], operands, jax.random.key(0)).mean[0]


def figure(server: Server, name: str) -> float:
    found = re.search(
        rf"^{name}(?:{{[^}}]*}})? (\S+)$", httpx.get(f"{server.url}/monitoring/metrics").text, re.MULTILINE
    )
    assert found, name
    return float(found[1])


def validate(value: Any, schema: str) -> None:
    api = document()
    about = {"$ref": f"#/components/schemas/{schema}", "components": api["components"]}
    jsonschema.Draft202012Validator(about).validate(value)


def test_lines_are_read_without_a_library_of_ours(server: Server, states: NDArray[np.float32]) -> None:
    body = json.dumps({"inputs": FIRST.tolist(), "steps": STEPS, "stride": 3, "seed": SEED}).encode()
    headers = {"content-type": "application/json", "x-request-id": "march-1"}
    before = figure(server, "pnol_rollout_steps_total")
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/rollout", body, headers)) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        assert answer.headers["x-request-id"] == "march-1"
        head, *steps = [json.loads(line) for line in answer]
    assert (head["model"], head["steps"], head["stride"], head["draws"]) == ("march", STEPS, 3, heat.NUM_SAMPLES)
    assert [(step["step"], step["time"]) for step in steps] == [(3, 1.5), (6, 3.0)]
    for step in steps:
        expected = states[step["step"] - 1]
        np.testing.assert_allclose(step["outputs"]["mean"], expected.mean(axis=0), atol=CLOSE)
        np.testing.assert_allclose(step["outputs"]["std"], expected.std(axis=0, ddof=1), atol=CLOSE)
    for frame in (head, *steps):
        validate(frame, "RolloutFrame")
    assert figure(server, "pnol_rollout_steps_total") == before + STEPS
    assert 'pnol_requests_total{endpoint="/rollout",status="200"}' in httpx.get(f"{server.url}/monitoring/metrics").text


def lines(server: Server, **about: Any) -> list[dict[str, Any]]:
    """Those of the access log that say so."""
    found = [json.loads(line) for line in server.errors.read_text().splitlines()]
    return [line for line in found if all(line.get(name) == value for name, value in about.items())]


def test_rollouts_and_derivatives_are_recorded_as_predictions_are(server: Server) -> None:
    rollout = {"inputs": FIRST.tolist(), "steps": STEPS}
    derivative = {"inputs": FIRST.tolist(), "tangent": FIRST.tolist()}
    asked = {"/rollout": rollout, "/derivatives": derivative, "/predict": {"inputs": FIRST.tolist()}}
    for path, body in asked.items():
        name = f"of{path[1:]}"
        answer = httpx.post(server.url + path, json=body, headers={"x-request-id": name})
        until(lambda name=name: len(lines(server, request_id=name)) == 1)  # type: ignore[misc]
        (line,) = lines(server, request_id=name)
        assert (line["endpoint"], line["status"], line["model"], line["version"]) == (path, 200, "march", "1")
        assert (line["bucket"], line["cached"]) == ([16], False)
        assert (line["bytes_in"], line["bytes_out"]) == (len(answer.request.content), len(answer.content))
        assert set(line["stages_ms"]) >= {"decode", "queue", "batch", "compute", "encode"}
        assert sum(line["stages_ms"].values()) <= line["ms"] + 0.01


def test_a_rollout_that_nobody_waits_for_is_recorded_as_left(server: Server, client: Client) -> None:
    left = len(lines(server, endpoint="/rollout", status=499))
    next(client.rollout(FIRST, 1_000_000))
    until(lambda: len(lines(server, endpoint="/rollout", status=499)) == left + 1)
    assert lines(server, endpoint="/rollout", status=499)[-1]["bytes_out"] > 0


def test_the_client_reads_every_step(server: Server, client: Client, states: NDArray[np.float32]) -> None:
    options: Any = {"seed": SEED, "outputs": ["samples"], "num_samples": 3, "coordinates": [GRID.axes[0].points]}
    steps = list(client.rollout(FIRST, STEPS, **options))
    assert [step.number for step in steps] == list(range(1, STEPS + 1))
    np.testing.assert_allclose(np.stack([step["samples"] for step in steps]), states[:, :3], atol=CLOSE)

    async def all_of_it() -> list[Any]:
        async with AsyncClient(server.url) as other:
            return [step["samples"] async for step in other.rollout(FIRST, STEPS, **options)]

    np.testing.assert_array_equal(np.stack(asyncio.run(all_of_it())), np.stack([step["samples"] for step in steps]))


def test_a_client_that_has_enough_ends_the_rollout(server: Server, client: Client) -> None:
    before = figure(server, "pnol_rollout_steps_total")
    for step in client.rollout(FIRST, 1_000_000):
        if step.number == 3:
            break
    until(lambda: figure(server, "pnol_rollouts_open") == 0, seconds=60)
    assert figure(server, "pnol_rollout_steps_total") < before + 1_000_000
    assert figure(server, "pnol_rollouts_bytes") == 0


def test_what_ends_a_rollout_is_raised_after_the_steps_before(client: Client) -> None:
    steps = client.rollout(1e5 * FIRST, 5)
    assert next(steps).number == 1
    with pytest.raises(Refused, match="step 2: the states are not finite any more"):
        next(steps)
    with pytest.raises(Refused, match="expected a multiple of the stride"):
        next(client.rollout(FIRST, 5, stride=2))


def test_a_connection_whose_reader_stops_is_closed(server: Server, client: Client) -> None:
    body = msgspec.json.encode({"inputs": np.stack([FIRST] * 32).tolist(), "steps": 1_000_000, "outputs": ["samples"]})
    head = b"POST /rollout HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head + body)
        assert connection.recv(12) == b"HTTP/1.1 200"
        until(lambda: figure(server, "pnol_rollouts_open") == 1)
        assert len(list(client.rollout(FIRST, 3))) == 3
        until(lambda: figure(server, "pnol_rollouts_open") == 0, seconds=60)
    assert "Traceback" not in server.errors.read_text()


def test_products_are_those_of_the_mean_of_the_library(client: Client) -> None:
    generator = np.random.default_rng(0)
    tangent, cotangent = (generator.standard_normal((POINTS, n)).astype(np.float32) for n in (2, 1))
    expected, along = jax.jvp(mean, (FIRST,), (tangent,))
    back = jax.vjp(mean, FIRST)[1](cotangent)[0]
    forward, reverse = client.jvp(FIRST, tangent), client.vjp(FIRST, cotangent)
    for found in (forward, reverse):
        np.testing.assert_allclose(found.mean, expected, atol=CLOSE)
    np.testing.assert_allclose(forward.product, along, atol=CLOSE)
    np.testing.assert_allclose(reverse.product, back, atol=CLOSE)
    several = client.vjp(np.stack([0 * FIRST, FIRST]), np.stack([cotangent] * 2))
    np.testing.assert_allclose(several.product[1], back, atol=CLOSE)


def test_derivatives_in_json_are_as_documented(server: Server) -> None:
    body = {"inputs": FIRST.tolist(), "cotangent": np.ones(POINTS).tolist()}  # its channel left out
    answer = httpx.post(f"{server.url}/derivatives", json=body).json()
    validate(answer, "Derivative")
    back = jax.vjp(mean, FIRST)[1](np.ones((POINTS, 1), np.float32))[0]
    np.testing.assert_allclose(answer["outputs"]["vjp"], back, atol=CLOSE)
    for field, message in (("tangent", "tangent: got shape [13, 1], expected [13, 2]"), ("cotangent", "not finite")):
        wrong = {"inputs": FIRST.tolist(), field: np.full((POINTS, 1), 1e300).tolist()}
        refused = httpx.post(f"{server.url}/derivatives", json=wrong)
        assert refused.status_code == 400
        assert message in refused.json()["error"]


def test_strange_inputs_are_marked_or_refused_as_predictions_are(server: Server, client: Client) -> None:
    """The policy is one: figures, messages and counts are those of a prediction of the same inputs."""
    known = float(client.predict(FIRST, outputs=["ood"])["ood"])

    def asking(action: Literal["mark", "refuse"], share: float, inputs: Any) -> dict[str, Any]:
        limits: Any = {"abstain": action, "abstain_from": share * known}
        return {
            "predict": lambda: client.predict(inputs, **limits),
            "jvp": lambda: client.jvp(inputs, inputs, **limits),
            "rollout": lambda: next(client.rollout(inputs, 3, **limits)),
        }

    for marked in asking("mark", 0.5, np.stack([FIRST, 0 * FIRST])).values():
        told = marked().abstention
        assert (told.cases, told.scores[0]) == ((0,), pytest.approx(known))
    for usual in asking("refuse", 2.0, FIRST).values():
        assert usual().abstention is None
    before = httpx.get(f"{server.url}/stats").json()["abstained"].get("march/1/refuse", 0)
    for refused in asking("refuse", 0.5, FIRST).values():
        with pytest.raises(Abstained, match="unlike what march/1 was trained on") as error:
            refused()
        assert error.value.abstention is not None
    assert httpx.get(f"{server.url}/stats").json()["abstained"]["march/1/refuse"] == before + 3


def test_a_design_loop_finds_a_source(client: Client) -> None:
    """Gradient descent on the source alone, to a mean that a known one gives."""
    known = FIRST.copy()
    known[:, 1] += 0.3 * np.cos(heat.angular(1) * GRID.axes[0].points)
    wanted, design = np.asarray(mean(known)), FIRST.copy()
    misfits = []
    for _ in range(12):
        misfit = client.predict(design, outputs=["mean"])["mean"] - wanted
        misfits.append(float(np.vdot(misfit, misfit)))
        design[:, 1] -= 0.5 * client.vjp(design, misfit).product[:, 1]
    assert misfits[-1] < misfits[0] / 100
    assert np.abs(design[:, 1] - known[:, 1]).max() < 0.1 * np.abs(FIRST[:, 1] - known[:, 1]).max()
