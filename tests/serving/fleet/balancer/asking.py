"""Clients of a balancer: one request, many at once, and a load that goes on."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx

from serving.fleet.balancer import Balancer


def ask(balancer: Balancer, path: str = "/predict", **given: Any) -> httpx.Response:
    """POST where there is a body, on a connection of its own."""
    return httpx.request(
        "POST" if "content" in given else "GET", balancer.url + path, timeout=20, verify=False, **given
    )


def names(balancer: Balancer, number: int) -> Counter[str]:
    """Who answered so many requests, one after the other."""
    with httpx.Client(base_url=balancer.url, timeout=20, verify=False) as client:
        return Counter(client.get("/predict").raise_for_status().text for _ in range(number))


@contextmanager
def at_once(balancer: Balancer, number: int, **given: Any) -> Iterator[list[Future[httpx.Response]]]:
    """So many requests that wait for their answers."""
    with ThreadPoolExecutor(number) as pool:
        yield [pool.submit(ask, balancer, **given) for _ in range(number)]


class Load:
    """Requests without end by several clients that keep their connections; what they got by name, status or error."""

    def __init__(self, balancer: Balancer, clients: int = 4) -> None:
        self.got: Counter[str] = Counter()
        self._url = balancer.url
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=20, verify=False) as client:
            while not self._ending.is_set():
                try:
                    answer = client.post("/predict", content=b"x")
                    self.got[answer.text if answer.is_success else str(answer.status_code)] += 1
                except httpx.HTTPError as error:
                    self.got[repr(error)] += 1
