"""The parent finds who remembers a request, says who is silent, and waits for nobody twice."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from typing import Any, Literal, TypeVar

import pytest

from serving.releases.ledger import Scored
from serving.releases.tally import LOST, Scores
from serving.rule import Rule
from serving.workers.hub import Hub
from serving.workers.messages import (
    LENGTH,
    Act,
    Begin,
    Count,
    Counts,
    Do,
    Done,
    Figures,
    Message,
    Ready,
    Recall,
    Recalled,
    Tell,
    pack,
    unpack,
)
from tests.processes import until

ASKED: list[tuple[str, str, Literal["load", "unload"]]] = [("m", "1", "unload")]
M = TypeVar("M", bound=Message)


class Worker:
    """The other end of a link: answers at once, or reads and says nothing while it is `stuck`."""

    def __init__(self, hub: Hub, number: int, known: dict[str, bytes]) -> None:
        self.link = hub.join(number)
        self.end = self.link.theirs.dup()
        self.link.listen()
        self.known, self.stuck = known, False
        self.heard: list[Message] = []
        self.changed = threading.Condition()
        self._recalls = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def say(self, message: Message) -> None:
        self.end.sendall(pack(message))

    def _listen(self) -> None:
        with contextlib.suppress(OSError), self.end, self.end.makefile("rb") as stream:
            while len(head := stream.read(LENGTH.size)) == LENGTH.size:
                message = unpack(stream.read(LENGTH.unpack(head)[0]))
                with self.changed:
                    self.heard.append(message)
                    self.changed.notify_all()
                if not self.stuck:
                    self.answer(message)

    def answer(self, message: Message) -> None:
        match message:
            case Recall(number, name):
                self.say(Recalled(number, [self.known[name]] if name in self.known else []))
            case Tell(number):
                self.say(Figures(number, ()))
            case Do(number, _) if number:
                self.say(Done(number, asked=ASKED))

    def of(self, kind: type[M]) -> list[M]:
        return [message for message in self.heard if isinstance(message, kind)]

    def wait_for(self, kind: type[M], count: int = 1) -> list[M]:
        """So many messages of a kind that came."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.of(kind)) >= count, 30)
        return self.of(kind)

    def recall(self, name: str) -> Recalled:
        """What the others know."""
        self._recalls += 1
        self.say(Recall(self._recalls, name))
        return self.wait_for(Recalled, self._recalls)[-1]

    def leave(self) -> None:
        with contextlib.suppress(OSError):
            self.end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def hub() -> Hub:
    return Hub(3, remembered=100)


@pytest.fixture
def workers(hub: Hub) -> Iterator[list[Worker]]:
    workers = [Worker(hub, number, {f"of {number}": b"%d" % number, "of all": b"!"}) for number in range(3)]
    for worker in workers:
        worker.say(Ready())
    until(lambda: all(worker.link.ready for worker in workers))
    yield workers
    for worker in workers:
        worker.leave()


def test_whoever_remembers_a_request_is_found_by_all_others(workers: list[Worker]) -> None:
    asking = workers[0]
    assert asking.recall("of 1") == Recalled(1, [b"1"])
    assert asking.recall("of all") == Recalled(2, [b"!", b"!"])  # its own it knows
    assert asking.recall("of nobody") == Recalled(3, [])


def test_one_that_is_silent_is_told_of_and_not_asked_again_before_it_answers(workers: list[Worker]) -> None:
    asking, stuck, _ = workers
    stuck.stuck = True
    assert asking.recall("of 2") == Recalled(1, [b"2"], silent=1)
    assert [asking.recall(f"of {number}").silent for number in range(3)] == [1, 1, 1]
    [question] = stuck.of(Recall)
    stuck.stuck = False
    stuck.answer(question)  # at last
    until(lambda: asking.recall("of 1").found == [b"1"])
    stuck.leave()  # and what it remembered is lost
    until(lambda: asking.recall("of 1").found == [])
    assert asking.recall("of 1").silent == 0


def test_a_decision_of_one_that_ends_is_left_to_another(workers: list[Worker]) -> None:
    acting, other, _ = workers
    numbers = itertools.count(1)

    def decides(worker: Worker) -> bool:
        """Whether the next truth, which says that version 2 is worse, has this worker move the label."""
        number = next(numbers)
        scores = {"1": Scores(error=0.1, crps=0.1, coverage=0.9, interval=0.1), "2": LOST}
        worker.say(Count(number, Scored("m", b"%d" % number, scores, Rule(minimum=1), ("1", "2"))))
        with worker.changed:
            assert worker.changed.wait_for(lambda: any(counts.id == number for counts in worker.of(Counts)), 30)
        return worker.of(Counts)[-1].counted.decision is not None

    assert any(decides(acting) for _ in range(50))
    assert not any(decides(worker) for worker in (acting, other))
    acting.leave()
    assert any(decides(other) for _ in range(1000))  # from when the parent has noticed


def test_one_that_is_killed_within_a_message_has_ended(workers: list[Worker]) -> None:
    asking, other, _ = workers
    other.end.sendall(pack(Recalled(1, [bytes(1000)]))[:500])
    other.leave()
    until(lambda: asking.recall("of 1").found == [])
    assert asking.recall("of 2") == Recalled(asking._recalls, [b"2"])


def test_what_cannot_be_taken_does_not_end_the_link(hub: Hub, workers: list[Worker], caplog: Any) -> None:
    taken = hub._hear
    workers[1].link._hear = lambda *_: 1 / 0
    workers[1].say(Ready())
    until(lambda: "Ready could not be taken" in caplog.text)
    workers[1].link._hear = taken
    assert workers[1].recall("of 2") == Recalled(1, [b"2"])


def test_one_that_joins_finds_an_act_among_those_that_run_or_in_what_was_asked(hub: Hub, workers: list[Worker]) -> None:
    stuck = workers[1]
    stuck.stuck = True
    acting = threading.Thread(target=hub.act, args=(Act("unload", "m", "1"),))
    acting.start()
    [act] = stuck.wait_for(Do)
    early = Worker(hub, 3, {})
    assert early.wait_for(Begin) == [Begin([])]
    assert early.wait_for(Do) == [Do(0, Act("unload", "m", "1"))]
    stuck.answer(act)
    acting.join()
    late = Worker(hub, 4, {})
    assert late.wait_for(Begin) == [Begin(ASKED)]
    late.wait_for(Do, 0)
    for worker in (early, late):
        worker.leave()


def test_figures_that_were_told_before_an_act_do_not_undo_it(hub: Hub, workers: list[Worker]) -> None:
    stuck = workers[2]
    stuck.stuck = True
    gathering = threading.Thread(target=hub.figures)
    gathering.start()
    [question] = stuck.wait_for(Tell)
    stuck.stuck = False
    hub.act(Act("unload", "m", "1"))
    stuck.answer(question)
    gathering.join()
    late = Worker(hub, 3, {})
    assert late.wait_for(Begin) == [Begin(ASKED)]
    late.leave()
