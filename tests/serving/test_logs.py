"""Lines of the log are JSON that says what happened to each request; without being asked for there are none."""

import asyncio
import io
import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.failures import failure
from serving.monitoring.access_log import describe, log_request
from serving.monitoring.logs import JsonLines
from serving.monitoring.record import RECORD, Record
from serving.monitoring.recorder import Recorder, Sink
from tests import heat
from tests.processes import until
from tests.serving.conftest import running

FIELD = heat.wave(heat.grid(12), 1)[0]


def test_every_request_has_its_line_with_all_that_is_known_of_it(small: Path, tmp_path: Path) -> None:
    flags = ["--batch-sizes", "[1]", "--log-format", "json", "--access-log", "1"]
    body = {"inputs": FIELD.tolist(), "outputs": ["mean"]}
    with running(small, tmp_path / "errors", *flags) as server, httpx.Client(base_url=server.url) as client:

        def lines() -> list[dict[str, Any]]:
            found = [json.loads(line) for line in server.errors.read_text().splitlines()]
            return [line for line in found if line["logger"] == "serving.access"]

        first = client.post("/predict", json=body, headers={"x-request-id": "mine"})
        second = client.post("/predict", json=body)
        refused = client.post("/predict", content=b"{")
        health = client.get("/health")
        until(lambda: len(lines()) == 4)
        one, two, three, four = lines()
    assert (one["request_id"], one["model"], one["version"], one["bucket"]) == ("mine", "line", "10", [16])
    assert (one["status"], one["worker"], one["cached"]) == (200, 0, False)
    assert one["bytes_in"] == len(first.request.content)
    assert one["bytes_out"] == len(first.content)
    assert set(one["stages_ms"]) == {"decode", "cache", "queue", "batch", "compute", "encode"}
    assert sum(one["stages_ms"].values()) <= one["ms"] + 0.01
    assert (two["cached"], set(two["stages_ms"])) == (True, {"decode", "cache", "encode"})
    assert two["request_id"] == second.headers["x-request-id"]
    assert (three["status"], three["request_id"]) == (400, refused.headers["x-request-id"])
    assert three["error"] == refused.json()["error"]
    assert (four["endpoint"], four["status"], four["bytes_out"]) == ("/health", 200, len(health.content))


def test_a_line_is_one_object_whatever_is_in_it() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(worker=3))
    log = logging.Logger("test")
    log.addHandler(handler)
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("it failed: %s", "\x00\n\u2028é", extra={"fields": {"path": Path("/x")}})
    (line,) = stream.getvalue().split("\n")[:-1]
    found = json.loads(line)
    assert found["message"] == "it failed: \x00\n\u2028é"
    assert (found["worker"], found["level"], found["path"]) == (3, "error", "/x")
    assert "ValueError: two\nlines" in found["error"]


def test_an_internal_error_can_be_found_by_its_id(caplog: pytest.LogCaptureFixture) -> None:
    response = failure(RuntimeError("secret"))
    (name,) = [value.decode() for key, value in response.headers if key == b"x-request-id"]
    assert b"secret" not in response.content
    assert name in caplog.text
    failure(RuntimeError("secret"), b"given")
    assert "given" in caplog.text


def test_a_share_is_a_share_and_none_costs_no_record() -> None:
    taken: list[Record] = []
    recorder = Recorder([Sink(taken.append, 0.25)])
    for _ in range(4000):
        record = recorder.begin("/predict", [])
        if record is not None:
            recorder.end(record, 200, 0)
    assert 850 < len(taken) < 1150  # five standard deviations
    assert RECORD.get() is None
    assert not Recorder([]).is_on
    assert Recorder([]).begin("/predict", []) is None


def test_tasks_that_answer_at_the_same_time_have_records_of_their_own() -> None:
    recorder = Recorder([Sink(lambda record: None)])

    async def answer(name: bytes) -> str:
        recorder.begin("/predict", [(b"x-request-id", name)])
        await asyncio.sleep(0)
        record = RECORD.get()
        assert record is not None
        return record.request_id

    async def both() -> list[str]:
        return await asyncio.gather(*(asyncio.create_task(answer(name)) for name in (b"a", b"b")))

    assert asyncio.run(both()) == ["a", "b"]


def test_the_text_says_the_same(caplog: pytest.LogCaptureFixture) -> None:
    record = Record("/predict", "mine", status=200, end=0.0, start=-0.5)
    record.note("cache", 1.0, 1.5)
    record.note("cache", 2.0, 2.25)
    caplog.set_level(logging.INFO)
    log_request(record)
    assert describe(record)["stages_ms"] == {"cache": 750.0}
    assert caplog.messages == ["/predict 200 request_id=mine ms=500.0 bytes_in=0 bytes_out=0 cache_ms=750.0"]
