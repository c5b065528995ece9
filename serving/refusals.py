"""The ways in which the service says no, each with its HTTP status. Their messages are for the caller."""

import difflib
import re
from typing import Any, ClassVar

import msgspec

from pnol_jax.errors import InputError


class Refusal(InputError):
    """The request is at fault."""

    status: ClassVar[int] = 400


class Forbidden(Refusal):
    """What the service's settings do not let a request do."""

    status = 403


class Unauthorized(Refusal):
    """No token, or none that is known."""

    status = 401


class NotFound(Refusal):
    """No such model or version."""

    status = 404


class WrongMethod(Refusal):
    """An endpoint that is only asked by POST."""

    status = 405


class BodyTimeout(Refusal):
    """The body did not come in time."""

    status = 408


class TooLarge(Refusal):
    """More bytes or cases than the service takes."""

    status = 413


class Unsupported(Refusal):
    """A media type that the service does not read."""

    status = 415


class Abstained(Refusal):
    """Inputs too strange for the model to answer; the error's `abstention` has their scores."""

    status = 422

    def __init__(self, message: str, abstention: Any) -> None:
        super().__init__(message)
        self.abstention = abstention


class Unavailable(Exception):
    """The service cannot answer now; the same request may succeed after `retry_after` seconds."""

    status: ClassVar[int] = 503

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooMany(Unavailable):
    """More requests than the token may make in the time."""

    status = 429


class Expired(Unavailable):
    """The deadline passed before the answer was computed."""

    status = 504


_UNKNOWN = re.compile("unknown field `(.+?)`")


def explained(error: Exception, schema: type[msgspec.Struct]) -> str:
    """What is wrong with a body, and of a field that is unknown what is known instead."""
    unknown = _UNKNOWN.search(str(error))
    if unknown is None:
        return str(error)
    fields = schema.__struct_fields__
    near = difflib.get_close_matches(unknown[1], fields, 1)
    return f"{error}; " + (f"did you mean `{near[0]}`?" if near else f"expected some of {', '.join(fields)}")
