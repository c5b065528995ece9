"""What a call raises when it has no answer to give; each carries the server's own message where there is one."""

from typing import Any


class ServingError(Exception):
    """A call without an answer. status: of HTTP, None where nothing came back."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Refused(ServingError):
    """The request is at fault; sent again, it would be refused again."""


class NotFound(Refused):
    """There is no such model, version or path."""


class TooLarge(Refused):
    """More bytes or cases than the service takes in one request."""


class Abstained(Refused):
    """The model does not answer for inputs as strange as these; `abstention` has their figures, where it was sent."""

    abstention: Any = None


class Unavailable(ServingError):
    """The service cannot answer now. retry_after: seconds until it may, if it said so."""

    def __init__(self, message: str, status: int | None = None, retry_after: float = 0.0) -> None:
        super().__init__(message, status)
        self.retry_after = retry_after


class ConnectionLost(Unavailable):
    """No connection, or one that ended before the answer was whole."""


class DeadlineExceeded(ServingError):
    """The time of the call is up."""


class ServerFault(ServingError):
    """A defect of the service."""


_REFUSED = {404: NotFound, 413: TooLarge, 422: Abstained}
_UNAVAILABLE = (429, 502, 503)
_LATE = 504
_MAX_STATUS_OF_REFUSALS = 499


def error_of(status: int, message: str, retry_after: str) -> ServingError:
    """The error that a status stands for."""
    if status in _UNAVAILABLE:
        return Unavailable(message, status, float(retry_after) if retry_after.isdecimal() else 0.0)
    if status == _LATE:
        return DeadlineExceeded(message, status)
    if status <= _MAX_STATUS_OF_REFUSALS:
        return _REFUSED.get(status, Refused)(message, status)
    return ServerFault(message, status)
