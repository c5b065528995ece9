"""Faults around a server process: what stops, dies, fills up or jumps, and what comes of it (docs/design/faults.md)."""

import ast
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import jax
import numpy as np
import psutil
import pytest

import serving
from pnol_jax.ports import free_port
from serving.client import Client, DeadlineExceeded
from serving.pulse import Pulse, Watch
from tests import heat
from tests.processes import until
from tests.serving.conftest import Server, command, running

FIELD, SOLUTION = heat.wave(heat.grid(12), 1)
CLIENTS = 8


@pytest.fixture(scope="module")
def workers(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Two workers, of which one that stalls is replaced soon."""
    flags = ["--batch-sizes", "[1]", "--workers", "2", "--stall-seconds", "3", "--cache-bytes", "0"]
    with running(small, tmp_path_factory.mktemp("log") / "errors", *flags) as server:
        yield server


@pytest.fixture(scope="module")
def alone(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(small, tmp_path_factory.mktemp("log") / "errors", "--batch-sizes", "[1]") as server:
        yield server


def is_right(client: Client, scale: float, deadline: float = 60.0) -> bool:
    """Whether the client gets the answer to a field that is its own."""
    found = client.predict(scale * FIELD, outputs=["mean"], deadline=deadline)["mean"]
    np.testing.assert_allclose(found / scale, SOLUTION, atol=1e-5)
    return True


def pids(server: Server) -> list[int]:
    return [child.pid for child in psutil.Process(server.process.pid).children()]


def held_by(pid: int) -> int:
    """The connections that a process has accepted."""
    found = psutil.Process(pid).net_connections("tcp")
    return sum(connection.status == psutil.CONN_ESTABLISHED for connection in found)


@pytest.fixture
def clients(workers: Server) -> Iterator[list[Client]]:
    """Clients with connections to both workers."""
    until(lambda: len(pids(workers)) == 2)
    found: list[Client] = []
    try:
        while len(found) < CLIENTS or not all(held_by(pid) for pid in pids(workers)):
            assert len(found) < 200, "one worker accepts all"
            found.append(Client(workers.url))
            assert is_right(found[-1], len(found))
        yield found
    finally:
        for client in found:
            client.close()


def all_at_once(clients: list[Client], between: threading.Event | None = None) -> list[bool]:
    """What becomes of one request of each client; `between` is set once all are sent or answered."""
    with ThreadPoolExecutor(len(clients)) as pool:
        asked = [pool.submit(is_right, client, 2.0 + number) for number, client in enumerate(clients)]
        if between is not None:
            between.set()
        return [request.result() for request in asked]


def test_a_worker_that_is_stopped_for_a_while_answers_when_it_goes_on(workers: Server, clients: list[Client]) -> None:
    before = pids(workers)
    os.kill(before[0], signal.SIGSTOP)
    with Client(workers.url) as fresh:
        assert is_right(fresh, 1.5)  # the other one accepts
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(all_at_once, clients)
        time.sleep(0.3)
        os.kill(before[0], signal.SIGCONT)
        assert all(answers.result())
    assert pids(workers) == before


def test_a_worker_that_stays_stopped_is_replaced_and_its_clients_ask_another(
    workers: Server, clients: list[Client]
) -> None:
    before = pids(workers)
    os.kill(before[0], signal.SIGSTOP)
    assert all(all_at_once(clients))
    until(lambda: len(pids(workers)) == 2 and before[0] not in pids(workers))
    assert before[1] in pids(workers)
    assert "gave no sign of life for 3 s and is ended" in workers.errors.read_text()


def test_no_request_of_our_client_is_lost_with_a_worker_that_is_killed(workers: Server, clients: list[Client]) -> None:
    over = threading.Event()

    def ask(number: int) -> int:
        answered = 0
        while not over.is_set():
            answered += is_right(clients[number], 1.0 + number + answered % 100)
        return answered

    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(ask, number) for number in range(CLIENTS)]
        try:
            time.sleep(0.5)
            os.kill(pids(workers)[1], signal.SIGKILL)
            time.sleep(1)
        finally:
            over.set()
        assert all(request.result() > 0 for request in asking)


def test_deadlines_hold_while_the_only_server_is_stopped_and_it_answers_when_it_goes_on(alone: Server) -> None:
    with Client(alone.url) as client, Client(alone.url) as patient, ThreadPoolExecutor(1) as pool:
        assert is_right(client, 1.0)
        os.kill(alone.process.pid, signal.SIGSTOP)
        try:
            for asked in (client, Client(alone.url)):  # on a connection that it has accepted, and on a new one
                with pytest.raises(DeadlineExceeded, match=r"within the deadline of 0\.5 s"):
                    is_right(asked, 2.0, deadline=0.5)
            waiting = pool.submit(is_right, patient, 3.0)
        finally:
            os.kill(alone.process.pid, signal.SIGCONT)
        assert waiting.result()
        assert is_right(client, 4.0)


def test_silence_is_counted_from_the_first_beat_and_only_while_the_watcher_is_awake() -> None:
    pulse = Pulse()
    watch = Watch(pulse)
    watch.restart()
    assert [watch.look(0.5) for _ in range(3)] == [0, 0, 0]  # it starts
    pulse.write(1)
    assert [watch.look(0.5) for _ in range(3)] == [0, 0.5, 1.0]
    pulse.write(2)
    assert [watch.look(0.5) for _ in range(2)] == [0, 0.5]
    watch.restart()
    assert watch.look(0.5) == 0
    os.close(pulse.descriptor)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="XLA's compiler for a GPU writes files of its own")
def test_a_full_disk_costs_the_programs_that_are_kept_and_the_log_and_no_answer(small: Path, tmp_path: Path) -> None:
    """No file can grow beyond 512 bytes, which is what a disk that is full looks like to who writes."""
    models, kept = shutil.copytree(small, tmp_path / "models"), tmp_path / "kept"
    flags = ["--batch-sizes", "[1]", "--executables", str(kept), "--poll-seconds", "0.1"]
    with (
        running(models, tmp_path / "errors", *flags, under=["prlimit", "--fsize=512"]) as server,
        Client(server.url) as client,
    ):
        assert is_right(client, 1.0)
        shutil.rmtree(models / "line" / "10")
        until(lambda: client.predict(FIELD).version == "1")
        assert server.stop() == 0
    assert (tmp_path / "errors").stat().st_size <= 512
    with running(models, tmp_path / "later", *flags) as server, Client(server.url) as client:
        assert is_right(client, 1.0)  # whatever was left of the programs


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_whose_output_goes_to_a_full_disk_serves(small: Path, workers: int) -> None:
    port = free_port()
    arguments = [*command(small, "--batch-sizes", "[1]"), "--port", str(port), "--workers", str(workers)]
    with Path("/dev/full").open("w") as full, subprocess.Popen(arguments, stdout=full, stderr=full) as process:
        try:
            with Client(f"http://127.0.0.1:{port}") as client:

                def ready() -> bool:
                    assert process.poll() is None
                    try:
                        return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
                    except httpx.TransportError:
                        return False

                until(ready, seconds=120)
                for child in psutil.Process(process.pid).children()[:1]:
                    child.kill()  # of which its parent cannot say a word
                assert is_right(client, 1.0)
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()


LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


@pytest.mark.skipif(not LIBRARIES, reason="needs libfaketime")
def test_a_clock_that_jumps_changes_nothing(small: Path, tmp_path: Path) -> None:
    """Wall time only: no system lets its monotonic clock jump."""
    clock = tmp_path / "clock"
    clock.write_text("+0d\n")
    settings = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1", "FAKETIME_TIMESTAMP_FILE": str(clock)}
    faked = ["env", f"LD_PRELOAD={LIBRARIES[0]}", *(f"{name}={value}" for name, value in settings.items())]
    flags = ["--batch-sizes", "[1]", "--keep-alive-seconds", "600", "--deadline-seconds", "30"]
    with running(small, tmp_path / "errors", *flags, under=faked) as server:
        with Client(server.url) as client, httpx.Client(base_url=server.url) as plain:
            for number, jump in enumerate(["+0d", "+400d", "-400d", "+1d"]):
                clock.write_text(f"{jump}\n")
                assert is_right(client, 1.0 + number, deadline=20)
                date = plain.get("/stats").json()["uptime_seconds"]
                assert 0 <= date < 600
        assert server.stop() == 0


# Wall time is read in these files only: tokens expire on a day, a decision is written down with its time, and spans
# of several machines have to fit together. In a fleet timetables need it, and what is told people.
SUPERVISOR = {f"fleet/supervisor/{name}.py" for name in ("decisions", "observe", "report", "scale")}
WALL_CLOCK = {"tokens.py", "releases/decision.py", "monitoring/traces.py", *SUPERVISOR}


def test_only_the_monotonic_clock_decides() -> None:
    folder = Path(serving.__file__).parent
    names = {"time", "time_ns", "now", "utcnow", "today", "gmtime", "localtime"}
    found = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Attribute)
                and node.attr in names
                and isinstance(node.value, ast.Name | ast.Attribute)
            ):
                owner = node.value.attr if isinstance(node.value, ast.Attribute) else node.value.id
                if owner in ("time", "datetime", "date"):
                    found.add(str(file.relative_to(folder)))
    assert found == WALL_CLOCK


def test_sigterm_answers_every_request_that_was_begun(small: Path, tmp_path: Path) -> None:
    """The server says 100 to a request that it reads; half of them send the rest only after the signal."""
    body = json.dumps({"inputs": FIELD.tolist(), "outputs": ["mean"]}).encode()
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
    with running(small, tmp_path / "errors", "--batch-sizes", "[1]", "--cache-bytes", "0") as server:
        connections = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(40)]
        for connection in connections:
            connection.sendall(head.encode())
        for connection in connections:
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        for connection in connections[::2]:
            connection.sendall(body)
        server.process.terminate()
        until(lambda: refused(server.port))
        for connection in connections[1::2]:
            connection.sendall(body)
        for connection in connections:
            with connection, connection.makefile("rb") as answer:
                about, _, content = answer.read().partition(b"\r\n\r\n")
            assert about.startswith(b"HTTP/1.1 200 OK")
            np.testing.assert_allclose(json.loads(content)["outputs"]["mean"], SOLUTION, atol=1e-5)
        assert server.process.wait(60) == 0


def refused(port: int) -> bool:
    """Whether nobody listens any more."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False
