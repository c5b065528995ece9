"""A request whose very bytes are known gets the response that they got before, as long as nothing has changed."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from serving.cache.responses import Kept, Responses, bytes_key
from serving.cache.store import ENTRY_BYTES
from tests import heat
from tests.serving.conftest import running

FIELD = heat.wave(heat.grid(10, 11), 1, 2)[0]


@pytest.mark.parametrize(
    "other",
    [
        ("/predict", b"outputs=mean", {b"accept": b"a"}, b"body"),
        ("/v2", b"", {b"accept": b"a"}, b"body"),
        ("/predict", b"", {b"accept": b"b"}, b"body"),
        ("/predict", b"", {b"content-type": b"a"}, b"body"),
        ("/predict", b"", {b"accept": b"a"}, b"bod"),
        ("/predictb", b"", {b"accept": b"a"}, b"ody"),
    ],
)
def test_requests_that_differ_in_anything_have_different_keys(
    other: tuple[str, bytes, dict[bytes, bytes], bytes],
) -> None:
    assert bytes_key("/predict", b"", {b"accept": b"a"}, b"body") != bytes_key(*other)


def test_headers_that_no_answer_depends_on_do_not_count() -> None:
    headers = {b"accept": b"a", b"user-agent": b"curl", b"x-request-id": b"1"}
    assert bytes_key("/predict", b"", headers, b"body") == bytes_key("/predict", b"", {b"accept": b"a"}, b"body")


def test_all_go_when_the_state_changes_and_none_comes_that_is_of_another() -> None:
    responses: Responses[str] = Responses(10**6)
    old, new = object(), object()
    assert responses.get(b"k", old) is None
    responses.put(b"k", old, Kept("before", 1.0), 10)
    assert responses.get(b"k", old) == Kept("before", 1.0)
    assert responses.get(b"k", new) is None
    responses.put(b"k", old, Kept("before", 1.0), 10)  # it was computed before the change
    assert responses.get(b"k", new) is None
    assert (len(responses), responses.bytes) == (0, 0)


def test_they_keep_within_their_bytes() -> None:
    responses: Responses[int] = Responses(10 * (ENTRY_BYTES + 100))
    responses.get(b"", None)
    for number in range(100):
        responses.put(number.to_bytes(4, "little"), None, Kept(number, 0.0), 100)
        assert responses.bytes <= responses.capacity
    assert len(responses) == 10


def test_the_third_request_of_the_same_bytes_is_answered_unread_until_a_version_comes(tmp_path: Path) -> None:
    heat.write(tmp_path / "models", version="1")
    with (
        running(tmp_path / "models", tmp_path / "log", "--repository-control", "true") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        asked: dict[str, Any] = {"inputs": FIELD.tolist(), "outputs": ["mean", "std"]}
        first, second, third = (client.post("/predict", json=asked) for _ in range(3))
        assert [json.loads(reply.content)["cached"] for reply in (first, second, third)] == [False, True, True]
        assert second.content == third.content
        np.testing.assert_array_equal(first.json()["outputs"]["std"], third.json()["outputs"]["std"])
        figures = client.get("/stats").json()["cache"]
        assert (figures["misses"], figures["hits"], figures["repeated"]) == (1, 2, 1)
        other = client.post("/predict", json=asked, headers={"accept": "application/msgpack"})
        assert other.headers["content-type"] == "application/msgpack"
        named = client.post("/predict", json=asked, headers={"x-request-id": "mine"})
        assert named.headers["x-request-id"] == "mine"
        assert "x-request-id" not in client.post("/predict", json=asked).headers
        heat.write(tmp_path / "models", version="2")
        assert client.post("/v2/repository/models/heat/load").status_code == 200
        assert client.post("/predict", json=asked).json()["version"] == "2"
