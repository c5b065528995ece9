"""The parent's end of a link: sends to one worker, and hears what it says in a thread of its own."""

import contextlib
import itertools
import logging
import socket
import struct
import threading
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from serving.workers.messages import LENGTH, Act, Do, Done, Figures, Message, Recall, Recalled, Tell, pack, unpack

log = logging.getLogger("serving")
SEND_SECONDS = 1  # after which a worker that reads nothing has lost its link
Answer = Figures | Done | Recalled
_TIMEVAL = struct.pack("ll", SEND_SECONDS, 0)


class Lost(Exception):
    """The worker ended, or does not answer."""


class Link:
    """To a worker. What it says unasked goes to `hear`, in this link's thread; its end is told once, to `end`."""

    def __init__(self, number: int, hear: Callable[["Link", Message], None], end: Callable[["Link"], None]) -> None:
        self.number = number
        self.ready = False
        self._hear = hear
        self._end = end
        self._socket, self.theirs = socket.socketpair()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIMEVAL)
        self._ids = itertools.count(1)
        self._sending, self._came = threading.Lock(), threading.Condition()
        self._answers: dict[int, Answer | None] = {}  # that somebody waits for; None: not yet
        self._late: set[int] = set()  # questions that were not answered in time, nor since
        self._open = True
        self._thread = threading.Thread(target=self._listen, name=f"link {number}", daemon=True)

    def listen(self) -> None:
        """Begin to hear, now that the worker has its end."""
        self.theirs.close()
        self._thread.start()

    def close(self) -> None:
        """Of a worker that could not be started."""
        self.theirs.close()
        self._socket.close()

    def send(self, message: Message) -> None:
        """Say something; a worker that cannot take it has lost its link."""
        try:
            with self._sending:
                self._socket.sendall(pack(message))
        except OSError:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def tell(self, seconds: float) -> Figures | None:
        """The worker's figures; None if it does not answer in time, or has still to answer an earlier question.

        Raises:
            Lost: the worker ended.
        """
        answer = None if self._late else self._ask(Tell(next(self._ids)), seconds)
        return answer if isinstance(answer, Figures) else None

    def recall(self, name: str, seconds: float) -> Recalled | None:
        """The request of an id, if the worker answered it; None as for its figures.

        Raises:
            Lost: the worker ended.
        """
        answer = None if self._late else self._ask(Recall(next(self._ids), name), seconds)
        return answer if isinstance(answer, Recalled) else None

    def do(self, act: Act, seconds: float) -> Done:
        """Have something done.

        Raises:
            Lost: the worker ended, or did not answer in time.
        """
        answer = self._ask(Do(next(self._ids), act), seconds)
        if not isinstance(answer, Done):
            raise Lost(f"worker {self.number} did not {act.what} within {seconds:g} s")
        return answer

    def _ask(self, message: Tell | Recall | Do, seconds: float) -> Answer | None:
        with self._came:
            self._answers[message.id] = None
        self.send(message)
        with self._came:
            self._came.wait_for(lambda: self._answers[message.id] is not None or not self._open, seconds)
            answer = self._answers.pop(message.id)
            if answer is None and not self._open:
                raise Lost(f"worker {self.number} ended")
            if answer is None and not isinstance(message, Do):
                self._late.add(message.id)
            return answer

    def _listen(self) -> None:
        try:
            with self._socket.makefile("rb") as stream:
                while (body := _body(stream)) is not None:
                    self._heard(unpack(body))
        except (OSError, msgspec.DecodeError) as error:
            log.warning("worker %d: its link ended: %s", self.number, error)
        finally:
            with self._came:
                self._open = False
                self._came.notify_all()
            self._socket.close()
            self._end(self)

    def _heard(self, message: Message) -> None:
        """What it said; whatever is wrong with it here, the link goes on."""
        try:
            self._take(message)
        except Exception:
            log.exception("worker %d: %s could not be taken", self.number, type(message).__name__)

    def _take(self, message: Message) -> None:
        if isinstance(message, Answer) and message.id:
            with self._came:
                self._late.discard(message.id)
                if message.id in self._answers:
                    self._answers[message.id] = message
                    self._came.notify_all()
        else:
            self._hear(self, message)


def _body(stream: BinaryIO) -> bytes | None:
    """The next message; None at the end, also where the worker was killed in the midst of one."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    body = stream.read(length := LENGTH.unpack(head)[0])
    return body if len(body) == length else None
