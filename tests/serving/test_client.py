"""The Python client: what it gives is what the service has, and what it tries again is what another try can help."""

import asyncio
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from pnol_jax.errors import InputError
from serving import client as package
from serving.client import (
    AsyncClient,
    Client,
    ConnectionLost,
    DeadlineExceeded,
    NotFound,
    Prediction,
    Refused,
    Retries,
    ServerFault,
    TooLarge,
    Unavailable,
)
from tests import heat
from tests.serving.conftest import Server

GRID = heat.grid(10, 11)
FIELD, SOLUTION = heat.wave(GRID, 1, 2)


@pytest.fixture
def ours(server: Server) -> Iterator[Client]:
    with Client(server.url) as ours:
        yield ours


def test_a_prediction_is_the_service_s_own(ours: Client, server: Server) -> None:
    outputs = ["mean", "interval", "samples", "ood"]
    found = ours.predict(FIELD, model="heat", version="1", outputs=outputs, level=0.5, num_samples=2, seed=3)
    body = {"inputs": FIELD.tolist(), "outputs": outputs, "level": 0.5, "num_samples": 2, "seed": 3}
    expected = httpx.post(f"{server.url}/predict", json=body).json()
    assert list(found.arrays) == list(expected["outputs"]) == ["mean", "lower", "upper", "samples", "ood"]
    for name, array in found.arrays.items():
        np.testing.assert_array_equal(array, np.asarray(expected["outputs"][name], np.float32))
    np.testing.assert_allclose(found["mean"], SOLUTION, atol=1e-6)
    assert (found.model, found.version, found.bucket, found.method) == ("heat", "1", (12, 12), "heat kernel")
    assert found.channels[0].name == "temperature"
    assert found.channels[0].unit == "K"
    assert found.interval is not None
    assert (found.interval.level, found.interval.kind, found.interval.guarantee) == (0.5, "gaussian", None)
    assert len(found.request_id) == len("00000000-0000-4000-8000-000000000000")


@pytest.mark.parametrize("kind", [np.float64, np.float16, ">f4", np.int64, bool])
def test_fields_of_any_real_type_are_sent_as_what_they_are(ours: Client, kind: Any) -> None:
    field = np.asarray(np.round(2 * FIELD), kind)
    assert field.astype(float).std() > 0
    np.testing.assert_array_equal(ours.predict(field)["mean"], ours.predict(field.astype(np.float32))["mean"])


@pytest.mark.parametrize("field", [FIELD + 1j, np.full(FIELD.shape, "a"), np.array([{}])])
def test_what_is_no_real_number_is_not_sent(ours: Client, field: Any) -> None:
    with pytest.raises(InputError, match="expected real numbers"):
        ours.predict(field)


def test_coordinates_are_used(ours: Client) -> None:
    x = np.sort(np.random.default_rng(1).uniform(0, heat.LENGTH, 20))
    field = np.multiply.outer(np.sin(heat.angular(1) * x), np.ones(11))[..., None]
    found = ours.predict(field, coordinates=[x, GRID.axes[1].points])["mean"]
    np.testing.assert_allclose(found, field * np.exp(-heat.NU_T * heat.angular(1) ** 2), atol=1e-5)


def test_health_models_and_metadata(ours: Client, server: Server) -> None:
    health = ours.health()
    assert (health.live, health.ready, health.models) == (True, True, {"heat/1": "ready"})
    (model,) = ours.models()
    assert (model.name, model.version, model.state, model.calibration) == ("heat", "1", "ready", heat.CALIBRATION)
    assert model.buckets == [(12, 12), (20, 24)]
    for arguments, path in (((), "/v2"), (("heat",), "/v2/models/heat"), (("heat", "1"), "/v2/models/heat/versions/1")):
        assert ours.metadata(*arguments) == httpx.get(server.url + path).json()


def fields(number: int) -> Iterator[np.ndarray[Any, Any]]:
    for i in range(number):
        yield (i + 1) * FIELD


def test_many_fields_come_back_in_order(ours: Client, server: Server) -> None:
    async def all_of_them() -> list[Prediction]:
        async with AsyncClient(server.url) as client:
            return [found async for found in client.predict_many(fields(20), concurrency=3, outputs=["mean"])]

    blocking = list(ours.predict_many(fields(20), concurrency=3, outputs=["mean"]))
    for i, (found, other) in enumerate(zip(blocking, asyncio.run(all_of_them()), strict=True)):
        np.testing.assert_allclose(found["mean"], (i + 1) * SOLUTION, atol=1e-5)
        np.testing.assert_array_equal(found["mean"], other["mean"])


def test_many_fields_are_taken_as_they_are_needed(ours: Client) -> None:
    taken: list[int] = []

    def endless() -> Iterator[np.ndarray[Any, Any]]:
        while True:
            taken.append(len(taken))
            yield (1 + taken[-1] % 3) * FIELD

    stream = ours.predict_many(endless(), concurrency=4)
    for i in range(6):
        next(stream)
        assert len(taken) <= i + 1 + 4
    stream.close()  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="concurrency: got 0, expected at least 1"):
        next(ours.predict_many(endless(), concurrency=0))


def test_the_first_error_of_many_fields_ends_them(ours: Client) -> None:
    stream = ours.predict_many([FIELD, np.zeros((2, 2)), FIELD], concurrency=2)
    assert next(stream)["mean"].shape == FIELD.shape
    with pytest.raises(Refused):
        next(stream)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda c: c.predict(FIELD, model="wave"), NotFound, "got 'wave', expected one of ['heat']"),
        (lambda c: c.predict(np.zeros((33, 9, 9))), TooLarge, "got 33 cases, expected at most 32"),
        (lambda c: c.predict(np.zeros((400, 400))), TooLarge, "expected at most 300000"),
        (lambda c: c.predict(np.full((10, 11), np.nan)), Refused, "got 110 values that are not finite"),
        (lambda c: c.predict(FIELD, outputs=["color"]), Refused, "outputs: got ['color']"),
        (lambda c: c.metadata("no/such"), NotFound, "path: got"),
        (lambda c: c.predict(FIELD, outputs=["samples"], seed=99, deadline=1e-4), DeadlineExceeded, "deadline"),
    ],
)
def test_errors_are_typed_and_say_what_the_service_says(ours: Client, call: Any, kind: type, message: str) -> None:
    with pytest.raises(kind) as caught:
        call(ours)
    assert message in str(caught.value)


ANSWER = {
    "outputs": ["mean"],
    "model": "heat",
    "version": "1",
    "bucket": [2],
    "method": "m",
    "cached": False,
    "channels": [{"name": "u", "unit": "K"}],
    "interval": None,
    "a field of a later version": 1,
}


class Script:
    """A server that answers as told, and notes what it was asked."""

    def __init__(self, *replies: Any) -> None:
        self.replies, self.requests, self.times = list(replies), [], []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(time.monotonic())
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        if reply is None:
            file = io.BytesIO()
            np.save(file, np.ones(2, np.float32))
            return httpx.Response(200, content=file.getvalue(), headers={"answer": json.dumps(ANSWER)})
        status, headers = reply
        return httpx.Response(status, json={"error": f"status {status}"}, headers=headers)


def ask_blocking(script: Script, **arguments: Any) -> Prediction:
    with Client("http://x", transport=httpx.MockTransport(script), retries=FAST, **arguments) as client:
        return client.predict(np.zeros(2))


def ask_async(script: Script, **arguments: Any) -> Prediction:
    async def ask() -> Prediction:
        async with AsyncClient("http://x", transport=httpx.MockTransport(script), retries=FAST, **arguments) as client:
            return await client.predict(np.zeros(2))

    return asyncio.run(ask())


FAST = Retries(tries=4, base_seconds=0.001)
Ask = Callable[..., Prediction]
both = pytest.mark.parametrize("ask", [ask_blocking, ask_async])


@both
def test_a_call_is_tried_again_with_the_same_key_and_the_time_that_is_left(ask: Ask) -> None:
    script = Script((503, {}), httpx.ConnectError("refused"), httpx.ReadError("reset"), None)
    assert ask(script)["mean"].tolist() == [1, 1]
    first, *others = script.requests
    assert len(others) == 3
    for request, before in zip(others, script.requests, strict=False):
        assert request.headers["idempotency-key"] == first.headers["idempotency-key"]
        assert request.content == first.content
        assert 0 < float(request.url.params["timeout"]) < float(before.url.params["timeout"]) < 60
    again = Script(None)
    ask(again)
    assert again.requests[0].headers["idempotency-key"] != first.headers["idempotency-key"]


@both
def test_a_pause_is_never_shorter_than_the_server_asks_for(ask: Ask) -> None:
    script = Script((503, {"retry-after": "1"}), None)
    ask(script)
    assert script.times[1] - script.times[0] >= 1


@both
@pytest.mark.parametrize(
    ("replies", "kind", "tries"),
    [
        ([(503, {})] * 9, Unavailable, 4),
        ([httpx.ConnectError("refused")] * 9, ConnectionLost, 4),
        ([(503, {"retry-after": "100"})], Unavailable, 1),  # beyond the deadline
        ([(400, {})], Refused, 1),
        ([(404, {})], NotFound, 1),
        ([(413, {})], TooLarge, 1),
        ([(500, {})], ServerFault, 1),
        ([(504, {})], DeadlineExceeded, 1),
        ([httpx.ReadTimeout("slow")], DeadlineExceeded, 1),
    ],
)
def test_only_what_another_try_can_help_is_tried_again(ask: Ask, replies: list[Any], kind: type, tries: int) -> None:
    script = Script(*replies)
    with pytest.raises(kind) as caught:
        ask(script)
    assert type(caught.value) is kind
    assert len(script.requests) == tries


@both
def test_the_deadline_holds_over_all_tries(ask: Ask) -> None:
    script = Script(*[(503, {"retry-after": "1"})] * 99)
    start = time.monotonic()
    with pytest.raises((Unavailable, DeadlineExceeded)):
        ask(script, deadline=1.5)
    assert time.monotonic() - start >= 1
    assert len(script.requests) == 2  # a third would begin after the end


@both
def test_an_answer_of_something_else_is_a_fault(ask: Ask) -> None:
    def page(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b"<html>")

    with pytest.raises(ServerFault, match="the answer is none of this service"):
        ask(page)


@both
def test_an_answer_that_is_cut_is_a_fault(ask: Ask) -> None:
    def cut(request: httpx.Request) -> httpx.Response:
        whole = Script(None)(request)
        return httpx.Response(200, headers=whole.headers, content=whole.content[:-1])

    with pytest.raises(ServerFault, match="the answer is not what its header says: mean: got 7 bytes, expected 8"):
        ask(cut)


@both
def test_the_header_of_an_array_is_not_evaluated(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def parser(text: str) -> Any:
        raise SystemError("AST constructor recursion depth mismatch")  # as CPython 3.11's does under several threads

    monkeypatch.setattr("ast.literal_eval", parser)
    assert ask(Script(None))["mean"].tolist() == [1, 1]


def test_a_slow_answer_ends_at_the_deadline() -> None:
    def drip() -> Iterator[bytes]:
        for _ in range(1000):
            time.sleep(0.02)
            yield b"x"

    with pytest.raises(DeadlineExceeded, match=r"no answer within the deadline of 0\.3 s"):
        ask_blocking(lambda request: httpx.Response(200, content=drip()), deadline=0.3)  # type: ignore[arg-type]


def test_the_client_needs_no_jax() -> None:
    code = "import sys, serving.client; sys.exit(bool({'jax', 'litestar', 'uvicorn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert set(package.__all__) <= set(dir(package))
