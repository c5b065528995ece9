"""Clients that are slow, silent or greedy: each state of a connection ends in time, and nobody else notices."""

import io
import select
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest

from tests import heat
from tests.processes import until
from tests.serving.conftest import Server, running

GRID = heat.grid(12)
FIELD, SOLUTION = heat.wave(GRID, 1)
PROBE = b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n"
MANY = 1000  # cases, whose answer in JSON is larger than what the kernel buffers for a connection, if asked for often


@pytest.fixture(scope="module")
def server(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With limits of time that a test can reach."""
    flags = ["--batch-sizes", "[1, 16]", "--max-cases", str(MANY), "--drain-seconds", "5"]
    flags += ["--header-seconds", "1", "--body-seconds", "1", "--keep-alive-seconds", "1", "--send-seconds", "1"]
    flags += ["--grpc-port", "0"]
    with running(small, tmp_path_factory.mktemp("log") / "errors", *flags) as server:
        yield server


@pytest.fixture(autouse=True)
def _goes_on(server: Server) -> Iterator[None]:
    yield
    assert ask(server) == 200
    until(lambda: not connections(server), seconds=90)
    assert "Exception" not in server.errors.read_text()


def ask(server: Server) -> int:
    response = httpx.post(f"{server.url}/predict", json={"inputs": FIELD.tolist()}, timeout=30)
    np.testing.assert_allclose(response.json()["outputs"]["mean"], SOLUTION, atol=1e-5)
    return response.status_code


def connections(server: Server) -> list[Any]:
    """Those that the server holds open."""
    found = psutil.Process(server.process.pid).net_connections("tcp")
    return [connection for connection in found if connection.status != psutil.CONN_LISTEN]


def connect(server: Server) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", server.port))
    return connection


def ended(connection: socket.socket, seconds: float = 20.0) -> bool:
    """Whether the server closes the connection, without anything being sent to it."""
    connection.settimeout(seconds)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def request(cases: int) -> bytes:
    """One that asks for an answer thirty times as large as itself."""
    file = io.BytesIO()
    np.save(file, np.multiply.outer(np.arange(1, cases + 1), FIELD).astype(np.float32))
    body = file.getvalue()
    head = "POST /predict?outputs=mean,std,lower,upper,aleatoric,epistemic HTTP/1.1\r\nhost: x\r\n"
    head += "content-type: application/x-npy\r\naccept: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def pour(connection: socket.socket, content: bytes, seconds: float) -> int:
    """Send without end, without waiting for long; how often the content went out whole."""
    connection.setblocking(False)
    sent, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        select.select([], [connection], [], 0.1)
        try:
            sent += connection.send((content * 2)[sent % len(content) :][: len(content)])
        except BlockingIOError:
            continue
        except OSError:
            break
    return sent // len(content)


SILENT = {
    "nothing at all": b"",
    "a request, and no next one": PROBE,
    "empty lines in place of the next one": PROBE + b"\r\n" * 3,
    "half a head": b"GET /health HTTP/1.1\r\nx: ",
    "a request, and half of the next head": PROBE + b"GET /hea",
    "a body that does not come": b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n",
    "a body that nobody reads": b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
}


@pytest.mark.parametrize("case", SILENT)
def test_a_peer_that_vanished_without_a_word_is_let_go(server: Server, case: str) -> None:
    """One that lost its network and one that only says nothing are the same to the server."""
    with connect(server) as connection:
        connection.sendall(SILENT[case])
        assert ended(connection)


DRIPS = {
    "a head": (b"", b"x"),
    "empty lines": (PROBE, b"\r\n"),
    "a body": (b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n\r\n", b" "),
    "a body that nobody reads": (b"POST /nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n\r\n", b" "),
}


def lasts(connection: socket.socket, drip: bytes, seconds: float = 20.0) -> bool:
    """Whether so much can be sent on a connection, a little at a time."""
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            connection.sendall(drip)
            time.sleep(0.1)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("case", DRIPS)
def test_a_byte_now_and_then_does_not_keep_a_connection(server: Server, case: str) -> None:
    first, drip = DRIPS[case]
    with connect(server) as connection:
        connection.sendall(first)
        assert not lasts(connection, drip)


def test_clients_that_do_not_read_are_let_go_and_hold_little(server: Server) -> None:
    memory = psutil.Process(server.process.pid).memory_info
    assert ask(server) == 200
    before, content = memory().rss, request(MANY)
    readers = [connect(server) for _ in range(6)]
    sent = [pour(reader, content, 0.7) for reader in readers]
    assert sum(sent) > 0
    assert ask(server) == 200  # beside them
    until(lambda: not connections(server), seconds=90)
    assert memory().rss - before < 100e6
    for reader in readers:
        with reader:
            assert ended(reader)


def test_a_client_that_does_not_read_does_not_keep_its_answer_by_closing_politely(server: Server) -> None:
    asked = request(MANY).replace(b"host: x\r\n", b"host: x\r\nconnection: close\r\n")
    with connect(server) as connection:
        connection.sendall(asked)
        until(lambda: not connections(server), seconds=90)
        assert ended(connection)


def test_requests_without_end_on_one_connection_wait_where_they_are(server: Server) -> None:
    memory = psutil.Process(server.process.pid).memory_info
    before = memory().rss
    with connect(server) as connection:
        sent = pour(connection, PROBE * 1000, 3.0)
        assert sent > 0
        assert ask(server) == 200
    assert memory().rss - before < 50e6


def test_many_requests_at_once_are_each_answered_in_order(server: Server) -> None:
    bodies = [b'{"inputs": [[1.0], [2.0]]}', *[f"[{i}".encode() for i in range(3000)]]
    head = "POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: "
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"".join(f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies))
        answers = b""
        while answers.count(b'{"error"') < len(bodies):
            answers += connection.recv(1 << 20)
    assert answers.count(b"HTTP/1.1 400 Bad Request") == len(bodies)


def test_a_peer_over_grpc_that_vanished_is_let_go(server: Server) -> None:
    """It is stopped: its kernel still takes what comes, and nothing answers."""
    pytest.importorskip("grpc")
    script = f"""
        import time, grpc
        channel = grpc.insecure_channel({server.grpc!r})
        channel.unary_unary("/inference.GRPCInferenceService/ServerLive", None, None)(b"")
        print("asked", flush=True)
        time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        try:
            assert client.stdout
            assert client.stdout.readline() == "asked\n"
            client.send_signal(signal.SIGSTOP)
            until(lambda: not connections(server), seconds=90)
        finally:
            client.kill()
