"""More requests than a replica can take: its queue says so, and a spare takes its part."""

import threading

import httpx
import pytest

from tests import heat
from tests.processes import until
from tests.serving.fleet.conftest import Begin

pytestmark = pytest.mark.slow
CASES = 64  # of a request, computed one by one


def test_a_queue_brings_the_spare_in(begin: Begin) -> None:
    fleet = begin('scaling.policies=[{kind="queue_time"}]', minimum=1, spares=1)
    fleet.settled(1, 1)
    body = {"inputs": [heat.wave(heat.grid(12), 1)[0].tolist()] * CASES}
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=fleet.url, timeout=60) as client:
            while not over.is_set():
                client.post("/predict", json=body)

    workers = [threading.Thread(target=ask) for _ in range(24)]
    for worker in workers:
        worker.start()
    try:
        until(lambda: len(fleet.serving()) > 1)
    finally:
        over.set()
        for worker in workers:
            worker.join()
    scale = fleet.decisions(event="scale")[0]
    assert scale["desired"] > scale["before"]
