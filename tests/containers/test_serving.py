"""The service in a container that may write nowhere, as a user without rights: answers, faults, its end."""

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.containers.conftest import FIELD, FIGURES, SOLUTION, Service
from tests.containers.podman import Podman
from tests.processes import until

CLIENTS = 8
RIGHTS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
KILLED = 128 + signal.SIGKILL
ONE_SIZE = {"batch_sizes": "[1]", "samples_batch_sizes": "[1]"}


def test_answers_as_a_user_without_rights(serve: Callable[..., Service]) -> None:
    service = serve(**ONE_SIZE)
    assert np.abs(np.asarray(service.predict()) - SOLUTION).max() < 1e-5
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{service.python}/status").read_text().splitlines())
    assert status["Uid"].split() == status["Gid"].split() == ["10001"] * 4
    assert {int(status[right], 16) for right in RIGHTS} == {0}
    assert status["NoNewPrivs"] == "1"


def test_all_that_serving_imports_is_there(serve: Callable[..., Service]) -> None:
    service = serve(grpc_port=0, traces="http://127.0.0.1:9", **ONE_SIZE)
    assert "grpc://127.0.0.1" in service.log()
    assert service.predict()
    assert service.ask("/schema/openapi.json")["paths"]
    walk = "import importlib, pkgutil, serving as s\n"
    walk += "skip = ('serving.client', 'serving.__main__')\n"
    walk += "for m in pkgutil.walk_packages(s.__path__, 'serving.'):\n"
    walk += "    m.name.startswith(skip) or importlib.import_module(m.name)"
    service.engine("exec", service.name, "python", "-c", walk)


def test_nothing_is_written_beside_its_folders(serve: Callable[..., Service]) -> None:
    service = serve(read_only=False, **ONE_SIZE)
    service.predict()
    changed = [line.split(" ", 1)[1] for line in service.engine("diff", service.name).splitlines()]
    made_by_podman = {"/etc", "/run", "/run/.containerenv"}
    assert not [path for path in changed if not path.startswith(("/cache", "/tmp")) and path not in made_by_podman]


def test_programs_are_compiled_once_where_a_volume_keeps_them(serve: Callable[..., Service], engine: Podman) -> None:
    engine("volume", "create", "pnol-cache")
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        service = serve("--volume=pnol-cache:/cache")
        service.predict()
        seconds.append(time.monotonic() - began)
        folder = Path(engine("volume", "inspect", "--format={{.Mountpoint}}", "pnol-cache"))
        kept = {path.name: path.stat().st_mtime_ns for path in folder.rglob("*-cache")}
        assert kept
        if len(seconds) == 1:
            first = kept
        engine("stop", "--time=10", service.name)
    assert kept == first  # the second start read them and wrote none
    FIGURES.append(
        f"start to first answer: {seconds[0]:.1f} s, with the programs of the start before {seconds[1]:.1f} s"
    )


def test_health_follows_a_process_that_stands_still(serve: Callable[..., Service], engine: Podman, image: str) -> None:
    check = engine.inspect(image, "image")["Healthcheck"]
    # The image's own, but for its start, in which failures do not count; podman changes that only with the rest named.
    words = [f"--health-cmd={json.dumps(check['Test'][1:])}", f"--health-retries={check['Retries']}"]
    words += [f"--health-timeout={check['Timeout']}ns", f"--health-interval={check['Interval']}ns"]
    service = serve(*words, "--health-start-period=1s", **ONE_SIZE)
    # Podman leaves it to systemd when to ask; here the test does.
    assert engine.run("healthcheck", "run", service.name).returncode == 0
    assert service.state()["Health"]["Status"] == "healthy"
    os.kill(service.python, signal.SIGSTOP)
    for _ in range(check["Retries"]):
        assert engine.run("healthcheck", "run", service.name).returncode == 1
    assert service.state()["Health"]["Status"] == "unhealthy"
    os.kill(service.python, signal.SIGCONT)
    assert engine.run("healthcheck", "run", service.name).returncode == 0
    assert service.state()["Health"]["Status"] == "healthy"


def test_sigterm_under_load_answers_what_was_accepted(serve: Callable[..., Service], engine: Podman) -> None:
    service = serve(cache_bytes=0, **ONE_SIZE)
    answered: Counter[int] = Counter()
    unanswered: list[float] = []  # when they had been sent
    asking = threading.Semaphore(0)
    body = json.dumps({"model": "heat", "inputs": FIELD.tolist(), "outputs": ["mean"]})

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
        while True:
            try:
                connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            except OSError:
                return
            sent = time.monotonic()
            try:
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                unanswered.append(sent)
                return
            answered[response.status] += 1
            asking.release()

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for _ in range(50 * CLIENTS):
        assert asking.acquire(timeout=60)
    init = service.state()["Pid"]
    began = time.monotonic()
    os.kill(init, signal.SIGTERM)
    engine("stop", "--time=2", service.name)  # what has not ended after two seconds is killed: 137
    FIGURES.append(f"SIGTERM under load of {CLIENTS} clients to the end: {time.monotonic() - began:.2f} s")
    for thread in threads:
        thread.join()
    assert service.state()["ExitCode"] == 0
    assert not [sent for sent in unanswered if sent < began]
    assert set(answered) <= {200, 503}


def test_sigterm_ends_it_also_before_it_listens_to_signals(serve: Callable[..., Service], engine: Podman) -> None:
    service = serve(wait=False)
    engine("stop", "--time=30", service.name)
    assert service.state()["ExitCode"] in (0, 128 + signal.SIGTERM)


def test_out_of_memory_is_killed_and_replaced(serve: Callable[..., Service]) -> None:
    service = serve("--memory=1g", "--memory-swap=1g", "--restart=on-failure", **ONE_SIZE)
    before = service.state()["Pid"]
    size = 60 * 2**20
    head = f"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(24):  # bodies that are each allowed, and all but the last byte of each is there
            with contextlib.suppress(OSError):
                peer = stack.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=30))
                peer.sendall(head.encode() + b" " * (size - 1))
        until(lambda: service.state()["Pid"] not in (0, before), service.state, seconds=180)
    events = service.engine("events", "--stream=false", "--filter", f"container={service.name}", "--format=json")
    ends = [json.loads(line) for line in events.splitlines()]
    assert [each["ContainerExitCode"] for each in ends if each["Status"] == "died"] == [KILLED]
    until(service.ready, service.log, seconds=180)
    assert np.abs(np.asarray(service.predict()) - SOLUTION).max() < 1e-5
