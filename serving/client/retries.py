"""When a call is tried again, and after which pause; no input or output happens here."""

import random
import time
from dataclasses import dataclass

import httpx

from serving.client.errors import ConnectionLost, DeadlineExceeded, ServingError, Unavailable


@dataclass(frozen=True)
class Retries:
    """Tries of one call, the first among them, and the pauses between them.

    A pause is drawn evenly from 0 to `base_seconds`, doubled with each try up to `cap_seconds` ("full jitter"), so that
    the clients of a server that was away do not all come back at once. It is never less than the server asked for.
    """

    tries: int = 5
    base_seconds: float = 0.1
    cap_seconds: float = 5.0


RETRIES = Retries()


class Attempts:
    """The tries of one call within its deadline, in seconds from now."""

    def __init__(self, retries: Retries, deadline: float) -> None:
        self._retries = retries
        self._deadline = deadline
        self._end = time.monotonic() + deadline
        self._failed = 0

    def remaining(self) -> float:
        """Seconds that are left.

        Raises:
            DeadlineExceeded: none are.
        """
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.expired()
        return left

    def expired(self) -> DeadlineExceeded:
        """The error of a call whose time is up."""
        return DeadlineExceeded(f"no answer within the deadline of {self._deadline:g} s")

    def lost(self, error: httpx.TransportError) -> ServingError:
        """The error that a failure of the transport stands for; its limits of time are those of the call."""
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return self.expired()
        return ConnectionLost(f"{error.request.url.netloc.decode()}: {type(error).__name__}: {error}")

    def pause(self, error: ServingError) -> float:
        """Seconds to wait before the next try.

        Raises:
            ServingError: the error itself, if another try would not help, or not in time.
        """
        self._failed += 1
        if not isinstance(error, Unavailable) or self._failed >= self._retries.tries:
            raise error
        most = min(self._retries.cap_seconds, self._retries.base_seconds * 2 ** (self._failed - 1))
        pause = max(error.retry_after, random.uniform(0, most))
        if pause >= self._end - time.monotonic():
            raise error
        return pause
