"""Truths that come to whichever of two workers count as if there were one, also when one of them is killed."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import psutil
import pytest

from serving.releases.ledger import Action, Ledger
from serving.releases.tally import Scores
from serving.rule import Rule
from tests.processes import until
from tests.serving import rivals
from tests.serving.conftest import Server, running
from tests.serving.test_team import figures, only, workers

pytestmark = pytest.mark.slow

FLAGS = ["--workers", "2", "--batch-sizes", "[1]", "--poll-seconds", "0", "--stall-seconds", "600"]
FLAGS += ["--keep-alive-seconds", "600"]
RULE, PAIR = Rule(minimum=40), ("1", "2")
SECTIONS = f"[split]\nstable = 0.5\ncanary = 0.5\n[shadow]\ncanary = 1.0\n[rule]\nminimum = {RULE.minimum}\n"


class Pair:
    """Two workers, and a connection to each."""

    def __init__(self, server: Server, file: Path) -> None:
        self.server = server
        self.file = file
        self.clients = [self.connect(worker) for worker in workers(server)]
        self.generator = np.random.default_rng(0)

    def connect(self, worker: psutil.Process) -> httpx.Client:
        """A client whose connection this worker accepts, and keeps."""
        client = httpx.Client(base_url=self.server.url, timeout=60, limits=httpx.Limits(max_connections=1))
        with only(self.server, worker):
            assert client.get("/health").status_code == 200
        return client

    def asked(self, client: httpx.Client, **body: Any) -> tuple[dict[str, Any], list[Any]]:
        """An answer and the truth."""
        field, truth = rivals.case(self.generator)
        answer = client.post("/predict", json={"inputs": field.tolist(), **body})
        assert answer.status_code == 200, answer.text
        return answer.json(), truth.tolist()

    def releases(self) -> dict[str, Any]:
        """How the versions stand, of which both workers say the same."""
        one, other = (client.get("/models/line/releases").json() for client in self.clients)
        for version in {*one["versions"], *other["versions"]}:  # which may be at work on copies
            for about in (one, other):
                about["versions"][version].pop("shadow")
        assert one == other
        return one


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    rivals.write_both(tmp_path / "models")
    file = tmp_path / "models" / "line" / "labels.toml"
    file.write_text(rivals.LABELS + SECTIONS)
    with running(tmp_path / "models", tmp_path / "errors", *FLAGS) as server:
        pair = Pair(server, file)
        yield pair
        for client in pair.clients:
            client.close()


def given(client: httpx.Client, truth: list[Any], **body: Any) -> httpx.Response:
    return client.post("/feedback", json={"truth": truth, **body})


def test_a_worse_version_is_rolled_back_as_by_one_process_though_a_worker_dies(pair: Pair) -> None:
    ledger, action, truths, met = Ledger(remembered=1000), None, 0, set[tuple[int, int]]()

    def tell(answerer: int, judge: int) -> Action | None:
        answer, truth = pair.asked(pair.clients[answerer])
        response = given(pair.clients[judge], truth, id=answer["id"])
        assert response.status_code == 200, response.text
        judged = response.json()
        assert (judged["version"], judged["counted"]) == (answer["version"], True)
        met.add((answerer, judge))
        return ledger.compare(PAIR, RULE, *(msgspec.convert(judged["scores"][version], Scores) for version in PAIR))

    while action is None:
        assert truths < 300
        if truths == RULE.minimum // 2:
            about = pair.releases()
            lost, truth = pair.asked(pair.clients[0])
            kept, _ = pair.asked(pair.clients[1])
            survivor = psutil.Process(workers(pair.server)[1].pid)
            os.kill(workers(pair.server)[0].pid, signal.SIGKILL)
            until(lambda: figures(pair.server)["pnol_worker_starts_total", ""] == 3, seconds=120)
            until(lambda: figures(pair.server)["pnol_workers", ""] == 2, seconds=120)
            assert pair.clients[1].get("/models/line/releases").json()["comparison"] == about["comparison"]
            [new] = [worker for worker in workers(pair.server) if worker.pid != survivor.pid]
            pair.clients[0].close()
            pair.clients[0] = pair.connect(new)
            for client in pair.clients:
                response = given(client, truth, id=lost["id"])
                assert (response.status_code, "of a worker that runs" in response.text) == (404, True)
            assert given(pair.clients[0], [[1.0]], id=kept["id"]).status_code == 400  # known, and no truth of it
        action = tell(*(int(number) for number in pair.generator.integers(2, size=2)))
        truths += 1
        about = pair.releases()
        if action is None:
            assert about["comparison"] == msgspec.to_builtins(ledger.comparison(PAIR, "crps"))
            assert about["labels"]["canary"]["version"] == "2"
    assert met == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert action == "roll_back"
    assert about["labels"]["canary"]["version"] == "1"  # in both, from when the last truth was answered
    assert [(event["action"], event["error"]) for event in about["events"]] == [("roll_back", None)]
    assert f"over {truths} truths" in about["events"][0]["reason"]
    assert about["versions"]["1"]["truths"] == about["versions"]["2"]["truths"] == truths
    assert 'canary = "1"' in pair.file.read_text()
    for client in pair.clients:
        assert {pair.asked(client, key=str(number))[0]["version"] for number in range(10)} == {"1"}
    assert pair.server.stop() == 0


def test_memory_and_counts_are_of_both(pair: Pair) -> None:
    one, other = pair.clients
    for client in pair.clients:
        for _ in range(5):
            pair.asked(client, version="1")
    until(lambda: _copies(one) == 10)
    assert _copies(other) == 10
    assert one.get("/models/line/releases").json()["versions"]["1"]["requests"] == 10

    answer, truth = pair.asked(one)
    assert [given(client, truth, id=answer["id"]).json()["counted"] for client in (other, one)] == [True, False]
    field, truth = (array.tolist() for array in rivals.case(pair.generator))
    assert [given(client, truth, inputs=field).json()["counted"] for client in (other, one)] == [True, False]
    assert given(other, truth, id="nobody's").status_code == 404

    for client in pair.clients:
        client.post("/predict", json={"inputs": field, "id": "again"})
    again = given(one, truth, id="again")  # the same request, sent to both, whose truth is known
    assert (again.status_code, again.json()["counted"]) == (200, False)
    pair.asked(one, id="twice")
    pair.asked(other, id="twice")
    for client in pair.clients:
        response = given(client, truth, id="twice")
        assert (response.status_code, "which several requests had" in response.text) == (400, True)

    (mine, truth), (its, its_truth) = pair.asked(one), pair.asked(other)
    stopped = workers(pair.server)[1]
    stopped.suspend()
    try:
        assert given(one, truth, id=mine["id"]).status_code == 200
        response = given(one, its_truth, id=its["id"])
        assert (response.status_code, "retry-after" in response.headers) == (503, True)
    finally:
        stopped.resume()
    until(lambda: given(one, its_truth, id=its["id"]).status_code == 200)
    about = pair.releases()
    assert about["versions"]["1"]["truths"] == about["comparison"]["truths"] == 4
    assert pair.server.stop() == 0


def _copies(client: httpx.Client) -> float:
    about = client.get("/models/line/releases").json()["versions"]
    return about.get("2", {"shadow": {}})["shadow"].get("answered", 0)
