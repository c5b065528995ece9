"""Values of queries, and faults of a server that has none."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from serving.fleet.scaling.prometheus import Unreadable, query, read

ANSWERS = {
    "one": (200, b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"42.5"]}]}}'),
    "2": (200, b'{"status":"success","data":{"resultType":"scalar","result":[1.5,"2"]}}'),
    "none": (200, b'{"status":"success","data":{"resultType":"vector","result":[]}}'),
    "two": (200, b'{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"1"]},{"value":[1,"2"]}]}}'),
    "nan": (200, b'{"status":"success","data":{"resultType":"scalar","result":[1.5,"NaN"]}}'),
    "sum(": (400, b'{"status":"error","errorType":"bad_data","error":"parse error: unclosed left parenthesis"}'),
    "page": (200, b"<html>not here</html>"),
}


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        address = urlsplit(self.path)
        status, body = ANSWERS[parse_qs(address.query)["query"][0]] if address.path == "/api/v1/query" else (404, b"")
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_values(address: str) -> None:
    assert query(address, "one", 2.0) == 42.5
    assert query(address, "2", 2.0) == 2.0


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("none", "a vector of 0 elements"),
        ("two", "a vector of 2 elements"),
        ("nan", "got nan"),
        ("sum(", "unclosed left parenthesis"),
        ("page", "expected the JSON of its API"),
    ],
)
def test_what_is_no_value_is_said(address: str, expression: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        query(address, expression, 2.0)


def test_one_fault_leaves_the_others(address: str) -> None:
    values, faults = read(address, {"a": "one", "b": "none"}, 2.0)
    assert values == {"a": 42.5}
    assert len(faults) == 1
    assert faults[0].startswith("b: ")


def test_a_server_that_is_away() -> None:
    with pytest.raises(Unreadable, match=r"prometheus http://127.0.0.1:1"):
        query("http://127.0.0.1:1", "up", 2.0)
