"""Whatever is sent to a real server process, it says what is wrong and goes on serving."""

import gzip
import io
import json
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from safetensors.numpy import save

from serving.app import _respond
from serving.refusals import Expired, Unavailable
from tests import heat

FIELD, _ = heat.wave(heat.grid(10, 11), 1, 2)
JSON = {"content-type": "application/json"}
GZIP = {"content-encoding": "gzip"}
MSGPACK = {"content-type": "application/msgpack"}
NPY = {"content-type": "application/x-npy"}
SAFETENSORS = {"content-type": "application/x-safetensors"}


def body(**changes: Any) -> bytes:
    return json.dumps({"inputs": FIELD.tolist()} | changes).encode()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def v2(**changes: Any) -> bytes:
    tensor = {"name": "inputs", "shape": FIELD.shape, "datatype": "FP32", "data": FIELD.ravel().tolist()}
    return json.dumps({"inputs": [tensor | changes]}).encode()


def pieces() -> Iterator[bytes]:
    for _ in range(100):
        yield b" " * 10_000


INFER = "/v2/models/heat/infer"
REQUESTS: dict[str, tuple[str, dict[str, str], Any, int, str]] = {
    "no JSON": ("/predict", JSON, b"{", 400, "body: Input data was truncated"),
    "no body": ("/predict", JSON, b"", 400, "body: Input data was truncated"),
    "an unknown field": ("/predict", JSON, body(input=1), 400, "unknown field `input`"),
    "another shape": ("/predict", JSON, body(inputs=[1.0, 2.0]), 400, "got shape [2], expected (x, y, 1)"),
    "a text": ("/predict", JSON, body(inputs=[["a"]]), 400, "Expected `float`, got `str`"),
    "a grid outside all buckets": (
        "/predict",
        JSON,
        body(inputs=np.zeros((25, 10)).tolist()),
        400,
        "got 25x10 points, expected at most one of the buckets 12x12, 20x24",
    ),
    "a grid of too few points": ("/predict", JSON, body(inputs=np.zeros((5, 10)).tolist()), 400, "at least 9 points"),
    "coordinates outside": (
        "/predict",
        JSON,
        body(coordinates=[list(range(10)), list(range(11))]),
        400,
        "expected them inside [0, 2]",
    ),
    "an unknown model": ("/predict", JSON, body(model="wave"), 404, "got 'wave', expected one of ['heat']"),
    "an unknown version": ("/predict", JSON, body(version="9"), 404, "version '9', expected one that is ready"),
    "a path for a model": ("/predict", JSON, body(model="../../etc/passwd"), 404, "expected one of ['heat']"),
    "another media type": ("/predict", {"content-type": "text/csv"}, b"1,2", 415, "got 'text/csv', expected"),
    "an encoding": ("/predict", JSON | {"content-encoding": "br"}, b"\x1f\x8b", 415, "content-encoding: got 'br'"),
    "two encodings": ("/predict", JSON | {"content-encoding": "gzip, gzip"}, b"\x1f\x8b", 415, "got 'gzip, gzip'"),
    "no gzip": ("/predict", JSON | GZIP, b"{}", 400, "body: expected gzip: "),
    "gzip that is cut": ("/predict", JSON | GZIP, gzip.compress(body())[:-9], 400, "got gzip that is cut short"),
    "two streams of gzip": (
        "/predict",
        JSON | GZIP,
        gzip.compress(body()) * 2,
        400,
        "got bytes behind the end of gzip",
    ),
    "a bomb": ("/predict", JSON | GZIP, gzip.compress(bytes(2**28)), 413, "got more than 300000 bytes"),
    "a bomb in pieces": ("/predict", JSON | GZIP, lambda: iter([gzip.compress(bytes(2**28))]), 413, "got more than"),
    "no msgpack": ("/predict", MSGPACK, b"\xc1", 400, "body: "),
    "a short msgpack array": (
        "/predict",
        MSGPACK,
        msgspec.msgpack.encode({"inputs": {"shape": [10, 11], "dtype": "float32", "data": b"1234"}}),
        400,
        "inputs: got 4 bytes, expected 440 for shape [10, 11]",
    ),
    "no safetensors": ("/predict", SAFETENSORS, b"{}", 400, "body: got a header of 32123 bytes, expected one of"),
    "a short tensor": (
        "/predict",
        SAFETENSORS,
        save({"inputs": FIELD})[:-3],
        400,
        "inputs: got bytes 0 to 440 of 437, expected",
    ),
    "too many cases": (
        "/predict",
        NPY,
        npy(np.zeros((33, 9, 9), np.float32)),
        413,
        "got 33 cases, expected at most 32",
    ),
    "too many bytes": ("/predict", NPY, bytes(300_001), 413, "got 300001 bytes, expected at most 300000"),
    "too many bytes in pieces": ("/predict", NPY, pieces, 413, "got more than 300000 bytes"),
    "integers": ("/predict", NPY, npy(np.zeros((10, 11), np.int64)), 400, "got dtype '<i8', expected <f4 or <f8"),
    "objects": ("/predict", NPY, npy(np.array([{}], dtype=object)), 400, "got dtype '|O'"),
    "a NaN": ("/predict", NPY, npy(np.full((10, 11), np.nan)), 400, "got 110 values that are not finite"),
    "half an array": ("/predict", NPY, npy(FIELD)[:-3], 400, "got 437 bytes, expected 440"),
    "an unknown parameter": ("/predict?color=red", NPY, npy(FIELD), 400, "unknown field `color`"),
    "a parameter that is nearly one": ("/predict?quantile=0.5", NPY, npy(FIELD), 400, "did you mean `quantiles`?"),
    "a parameter twice": ("/predict?seed=1&seed=2", NPY, npy(FIELD), 400, "got a parameter twice"),
    "a level that is none": ("/predict?level=high", NPY, npy(FIELD), 400, "got `str` - at `$.level`"),
    "too many draws": (
        "/predict?outputs=samples&num_samples=99999",
        NPY,
        npy(FIELD),
        400,
        "got 99999, expected at most",
    ),
    "a deadline": ("/predict?timeout=0.000001&seed=77&outputs=samples", NPY, npy(FIELD), 504, "no answer within"),
    "a v2 model": ("/v2/models/wave/infer", JSON, v2(), 404, "got 'wave'"),
    "a v2 version": ("/v2/models/heat/versions/7/infer", JSON, v2(), 404, "version '7'"),
    "a v2 datatype": (INFER, JSON, v2(datatype="BYTES"), 400, "got datatype 'BYTES', expected a field of numbers"),
    "a v2 shape": (INFER, JSON, v2(shape=[3]), 400, "got 110 numbers, expected those of shape [3]"),
    "a v2 header length": (INFER, {"inference-header-content-length": "-4"}, v2(), 400, "got '-4', expected a number"),
    "a v2 header that is cut": (INFER, {"inference-header-content-length": "20"}, v2(), 400, "body: "),
    "loading by request": ("/v2/repository/models/heat/load", JSON, b"{}", 403, "the setting repository_control"),
    "unloading by request": ("/v2/repository/models/heat/unload", JSON, b"", 403, "the setting repository_control"),
    "an index of what is none": ("/v2/repository/index", JSON, b'{"ready": 1}', 400, "Expected `bool`, got `int`"),
    "a truth of nothing": ("/feedback", JSON, b'{"truth": [1.0]}', 400, "got neither id nor inputs"),
    "a truth of a request that nobody made": ("/feedback", JSON, b'{"id": "no", "truth": [1.0]}', 404, "id: got 'no'"),
    "a truth of another shape": ("/feedback", JSON, body(truth=[1.0]), 400, "truth: got shape [1], expected"),
    "a truth that is none": ("/feedback", JSON, body(truth="true"), 400, "truth: got 0 nested lists"),
    "a rollout of no step model": ("/rollout", JSON, body(steps=2), 400, "rollout: this is no step model"),
    "a rollout of npy": ("/rollout?steps=2", NPY, npy(FIELD), 415, "got 'application/x-npy', expected one of"),
    "a rollout of no msgpack": ("/rollout", MSGPACK, b"\xc1", 400, "body: "),
    "a derivative along nothing": ("/derivatives", JSON, body(), 400, "got neither of tangent and cotangent"),
    "a derivative that was not exported": (
        "/derivatives",
        JSON,
        body(tangent=FIELD.tolist()),
        400,
        "expected one that was exported with export.derivatives = true",
    ),
    "an unknown path": ("/nothing", JSON, b"", 404, "path: got '/nothing', expected one of ['/derivatives', "),
    "a path upwards": ("/v2/models/..%2f..%2fetc/infer", JSON, v2(), 404, "path: got '/v2/models/"),
    "another method": ("/health", JSON, b"", 405, "method: got POST, expected GET"),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_it_says_what_it_got_and_what_it_expected(client: httpx.Client, case: str) -> None:
    path, headers, content, status, message = REQUESTS[case]
    response = client.post(path, content=content() if callable(content) else content, headers=headers)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    assert message in response.json()["error"]
    assert client.post("/predict", content=body(), headers=JSON).status_code == 200


def talk(port: int, *parts: bytes) -> bytes:
    """Everything that the server says to these bytes until it closes, or for three seconds."""
    with socket.create_connection(("127.0.0.1", port), timeout=3) as connection:
        answer = b""
        try:
            for part in parts:
                connection.sendall(part)
            while piece := connection.recv(65536):
                answer += piece
        except (ConnectionError, TimeoutError):
            pass
        return answer


START = b"POST /predict HTTP/1.1\r\nhost: x\r\n"
STREAMS: dict[str, tuple[bytes, int | None]] = {
    "bytes of no protocol": (b"\x00\x01\x02\r\n\r\n", 400),
    "TLS": (bytes.fromhex("16030100c8010000c40303") + bytes(200), 400),
    "HTTP/9": (b"GET /health HTTP/9.9\r\n\r\n", 400),
    "a length that is none": (START + b"content-length: abc\r\n\r\n", 400),
    "a negative length": (START + b"content-length: -5\r\n\r\n", 400),
    "a huge length": (START + b"content-length: 99999999999999999999999\r\n\r\n", 400),
    "two lengths": (START + b"content-length: 1\r\ncontent-length: 2\r\n\r\n{}", 400),
    "length and chunks": (START + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a chunk that is none": (START + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400),
    "a header of a megabyte": (b"GET /health HTTP/1.1\r\nx: " + b"a" * 2**20 + b"\r\n\r\n", 431),
    "a long path": (b"GET /" + b"a" * 50_000 + b" HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    "many headers": (b"GET /health HTTP/1.1\r\n" + b"".join(b"x%d: a\r\n" % i for i in range(20_000)) + b"\r\n", 431),
    "a NUL in a header": (b"GET /health HTTP/1.1\r\nx: a\x00b\r\n\r\n", 400),
    "a head that does not end": (b"GET /health HTTP/1.1\r\nx: ", None),
    "a body that does not come": (START + b"content-type: application/json\r\ncontent-length: 50\r\n\r\n{", 408),
}


@pytest.mark.parametrize("case", STREAMS)
def test_what_is_no_request_ends_its_connection_and_nothing_else(client: httpx.Client, server: Any, case: str) -> None:
    content, status = STREAMS[case]
    answer = talk(server.port, content)
    if status is None:
        assert answer == b""
        return
    if answer or status != 431:  # a client that is still sending may lose the answer when the connection closes
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
        assert set(json.loads(answer.partition(b"\r\n\r\n")[2])) == {"error"}


def test_a_client_that_leaves_in_the_middle_harms_nobody(client: httpx.Client, server: Any) -> None:
    whole = START + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body()) + body()
    for length in np.linspace(1, len(whole), 30).astype(int):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(whole[:length])


def test_random_bytes_never_bring_a_500(client: httpx.Client, server: Any) -> None:
    generator = np.random.default_rng(0)
    for path, headers, content in [("/predict", JSON, body()), ("/predict", NPY, npy(FIELD)), (INFER, JSON, v2())]:
        for _ in range(60):
            damaged = bytearray(content)
            for place in generator.integers(0, len(damaged), 3):
                damaged[place] = generator.integers(256)
            response = client.post(path, content=bytes(damaged), headers=headers)
            assert response.status_code in (200, 400, 404, 413)
    assert "a request failed" not in server.errors.read_text()


@pytest.mark.parametrize(("error", "status"), [(Unavailable("full", 7), 503), (Expired("late", 7), 504)])
def test_a_service_that_cannot_answer_now_says_when_to_come_back(error: Unavailable, status: int) -> None:
    response = _respond(SimpleNamespace(scope={"headers": []}), error)  # type: ignore[arg-type]
    assert response.status_code == status
    assert response.headers["retry-after"] == "7"


def test_a_defect_of_ours_is_not_told_in_detail(caplog: pytest.LogCaptureFixture) -> None:
    request = SimpleNamespace(scope={"headers": [(b"idempotency-key", b"a1")]})
    response = _respond(request, RuntimeError("/secret/path"))  # type: ignore[arg-type]
    assert response.status_code == 500
    assert "a1" in caplog.text
    assert json.loads(response.content) == {"error": "internal error"}
