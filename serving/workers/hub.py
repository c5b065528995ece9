"""The parent's part in what workers know of each other: figures of all, acts for all, one ledger of truths."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace

from serving.monitoring.families import Families, Family, Totals
from serving.releases.kept import ledgers_in
from serving.workers.link import Link, Lost
from serving.workers.messages import (
    Act,
    Asked,
    Begin,
    Conclude,
    Count,
    Counts,
    Do,
    Done,
    Figures,
    Message,
    Ready,
    Recall,
    Recalled,
    Report,
    Reported,
    Tell,
)

TELL_SECONDS = 1.0  # for a worker's figures, or a request; one that is stopped or stuck is told of as it was last
ACT_SECONDS = 600.0  # for loading, which compiles


class Hub:
    """Links to all workers, by their numbers, and the ledgers in which the truths that any of them got are counted.

    A worker asks for one act, one request and once for figures at a time, so that pools of these sizes never wait for
    themselves.
    """

    def __init__(self, workers: int, remembered: int, ledgers: str = "") -> None:
        self._lock = threading.Lock()  # of what follows
        self._links: dict[int, Link] = {}
        self._running: dict[int, Act] = {}
        self._asked: Asked = []
        self._begun = 0  # acts until now
        self._starts = 0
        self._ledgers = ledgers_in(ledgers, remembered)
        self._totals, self._gathering = Totals(), threading.Lock()
        self._tells, self._told = (ThreadPoolExecutor(workers, name) for name in ("tells", "told"))
        self._acts, self._done = ThreadPoolExecutor(workers, "acts"), ThreadPoolExecutor(workers**2, "done")
        self._recalls, self._recalled = (ThreadPoolExecutor(size, "recalls") for size in (workers, workers**2))

    def join(self, number: int) -> Link:
        """A link for a worker that is about to start, in which it finds what was asked until now."""
        with self._lock:
            link = Link(number, self._hear, self._end)
            link.send(Begin(self._asked))
            for act in self._running.values():  # the others are at it
                link.send(Do(0, act))
            self._links[number] = link
            self._starts += 1
        return link

    def leave(self, link: Link) -> None:
        """Of a worker that could not be started after all."""
        link.close()
        with self._lock:
            self._starts -= 1
            if self._links.get(link.number) is link:
                del self._links[link.number]

    def figures(self) -> Families:
        """Those of all workers that take requests, and what those had counted that have ended."""
        with self._gathering:
            links, begun = self._ready(), self._begun
            for link, told in zip(links, self._told.map(_tell, links), strict=True):
                if told is not None:
                    self._note(link, told, begun)
            families = self._totals.merged()
        starts = ("pnol_worker_starts_total", (), float(self._starts))
        return (
            *families,
            Family("pnol_workers", "Workers that take requests.", "gauge", "max", (("pnol_workers", (), len(links)),)),
            Family("pnol_worker_starts", "Times that a worker was started.", "counter", "sum", (starts,)),
        )

    def act(self, act: Act) -> Done:
        """Have something done by every worker; the first fault, if there are any."""
        with self._lock:
            self._begun += 1
            number, links = self._begun, self._linked(lambda link: link.ready)
            self._running[number] = act
            for link in self._linked(lambda link: not link.ready):
                link.send(Do(0, act))  # it will, once it has begun
        outcomes: list[Done] = []
        try:
            outcomes = list(self._done.map(lambda link: _do(link, act), links))
        finally:
            with self._lock:  # at once: one that joins finds the act among those that run, or in what was asked
                del self._running[number]
                self._asked = next((outcome.asked for outcome in outcomes if not outcome.error), self._asked)
        return next((outcome for outcome in outcomes if outcome.error), Done(0))

    def recall(self, asking: Link, name: str) -> Recalled:
        """What all other workers know of the request of an id."""
        answers = list(self._recalled.map(lambda link: _recall(link, name), self._ready(besides=asking)))
        found = [asked for answer in answers if answer is not None for asked in answer.found]
        return Recalled(0, found, answers.count(None))

    def _ready(self, besides: Link | None = None) -> list[Link]:
        with self._lock:
            return self._linked(lambda link: link.ready and link is not besides)

    def _linked(self, wanted: Callable[[Link], bool]) -> list[Link]:
        return [link for link in self._links.values() if wanted(link)]

    def _note(self, link: Link, told: Figures, begun: int) -> None:
        self._totals.note(str(link.number), told.families)
        with self._lock:
            if begun == self._begun and not self._running:  # else it may not know yet what was asked since
                self._asked = told.asked

    def _hear(self, link: Link, message: Message) -> None:
        match message:
            case Ready():
                link.ready = True
            case Figures():  # of one that ends
                with self._gathering:
                    self._note(link, message, self._begun)
            case Tell():
                self._tells.submit(lambda: link.send(Figures(message.id, self.figures())))
            case Do():
                self._acts.submit(self._answer, link, message)
            case Recall(number, name):
                self._recalls.submit(lambda: link.send(replace(self.recall(link, name), id=number)))
            case Count(number, scored):
                link.send(Counts(number, self._ledgers.count(scored, id(link))))
            case Conclude(model, event):
                self._ledgers.conclude(model, event)
            case Report(number):
                link.send(Reported(number, self._ledgers.accounts()))

    def _answer(self, link: Link, message: Do) -> None:
        done = self.act(message.act)
        link.send(Done(message.id, done.error, done.status))

    def _end(self, link: Link) -> None:
        self._ledgers.abandon(id(link))
        with self._gathering:
            self._totals.end(str(link.number))
        with self._lock:
            if self._links.get(link.number) is link:
                del self._links[link.number]


def _tell(link: Link) -> Figures | None:
    try:
        return link.tell(TELL_SECONDS)
    except Lost:
        return None


def _do(link: Link, act: Act) -> Done:
    try:
        return link.do(act, ACT_SECONDS)
    except Lost as error:
        return Done(0, str(error), 503)


def _recall(link: Link, name: str) -> Recalled | None:
    try:
        return link.recall(name, TELL_SECONDS)
    except Lost:  # and with it what it remembered
        return Recalled(0, [])
