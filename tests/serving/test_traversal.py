"""No name of a model or a version reaches what lies outside the folder of models, however it is written."""

import http.client
import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.conftest import Server, running

grpc = pytest.importorskip("grpc")

from serving.wire import inference_pb2 as pb  # noqa: E402

# Each leads to `outside/`, a servable beside the folder of models, if a part of the way forgets what it is.
NAMES = [
    "../outside",
    "..",
    ".",
    "line/../../outside",
    "..\\outside",
    "/{outside}",
    "//{outside}",
    "line/1/../../../outside",
    "file://{outside}",
    "~",
    "outside\0",
    "line\0/../../outside",
    "line\n",
    "\u2025/outside",
    "．．／outside",
    "link",
    ".hidden",
    "line/1",
    "x" * 5000,
    "",
]
ENCODINGS = {
    "as they are": str,
    "encoded": lambda name: urllib.parse.quote(name, safe=""),
    "encoded twice": lambda name: urllib.parse.quote(urllib.parse.quote(name, safe=""), safe=""),
    "overlong": lambda name: urllib.parse.quote(name, safe="").replace("..", "%c0%ae%c0%ae").replace("%2F", "%c0%af"),
    "dots encoded": lambda name: urllib.parse.quote(name, safe="/").replace(".", "%2e"),
}
PATHS = [
    ("GET", "/v2/models/{}"),
    ("GET", "/v2/models/{}/ready"),
    ("GET", "/v2/models/line/versions/{}"),
    ("GET", "/v2/models/line/versions/{}/ready"),
    ("POST", "/v2/models/{}/infer"),
    ("POST", "/v2/models/line/versions/{}/infer"),
    ("POST", "/v2/repository/models/{}/load"),
    ("POST", "/v2/repository/models/{}/unload"),
]


@pytest.fixture(scope="module")
def server(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may load by request, with a servable that it must not find."""
    folder = tmp_path_factory.mktemp("traversal")
    shutil.copytree(small / "line" / "1", folder / "models" / "line" / "1")
    shutil.copytree(small / "line" / "1", folder / "outside" / "1")
    flags = ["--batch-sizes", "[1]", "--grpc-port", "0", "--repository-control", "true"]
    with running(folder / "models", folder / "errors", *flags) as server:
        yield server
        known = {(entry["name"], entry["version"]) for entry in index(server)}
        assert known == {("line", "1")}
        assert "a request failed" not in server.errors.read_text()


def index(server: Server) -> list[dict[str, str]]:
    import httpx

    found: list[dict[str, str]] = httpx.post(f"{server.url}/v2/repository/index").json()
    return found


def names(server: Server) -> list[str]:
    return [name.replace("{outside}", str(server.errors.parent / "outside")) for name in NAMES]


def asked(server: Server, method: str, path: str) -> tuple[int, bytes]:
    """The path as it is: most clients would tidy it up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        connection.putrequest(method, "/", skip_accept_encoding=True)
        line = connection._buffer[0]  # type: ignore[attr-defined]
        connection._buffer[0] = line.replace(b" / ", b" " + path.encode() + b" ")  # type: ignore[attr-defined]
        connection.putheader("content-length", "2")
        connection.endheaders(b"{}")
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_way_of_writing_a_path_leads_out(server: Server, method: str, path: str, encoding: str) -> None:
    encode: Any = ENCODINGS[encoding]
    for name in names(server):
        status, content = asked(server, method, path.format(encode(name)))
        assert status in (400, 404, 405, 431), (name, status, content)
        assert content.startswith(b'{"error":'), (name, content)


def test_no_name_in_a_message_leads_out(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        for name in names(server):
            for request in (
                pb.ModelInferRequest(model_name=name),
                pb.ModelInferRequest(model_name="line", model_version=name or ".."),
                pb.ModelMetadataRequest(name=name),
                pb.ModelMetadataRequest(name="line", version=name or ".."),
            ):
                kind = type(request).__name__.removesuffix("Request")
                call = channel.unary_unary(f"/inference.GRPCInferenceService/{kind}", type(request).SerializeToString)
                with pytest.raises(grpc.RpcError) as caught:
                    call(request, timeout=20)
                assert caught.value.code().name in ("NOT_FOUND", "INVALID_ARGUMENT"), (name, caught.value)
            ready = channel.unary_unary(
                "/inference.GRPCInferenceService/ModelReady",
                pb.ModelReadyRequest.SerializeToString,
                pb.ModelReadyResponse.FromString,
            )
            assert not ready(pb.ModelReadyRequest(name=name or "..")).ready
