"""Every error in one shape, `{"error": message}`, with its HTTP status; what is not the caller's fault stays untold.

An abstention has its scores beside the message.
"""

import logging
from typing import NamedTuple

from litestar.types import Send

from pnol_jax.errors import InputError
from serving.refusals import Abstained, Refusal, Unavailable
from serving.wire.json import MEDIA_TYPE, encode_error

log = logging.getLogger("serving")


class Response(NamedTuple):
    """An HTTP response, with the headers that are its own."""

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes


async def send_response(response: Response, send: Send) -> None:
    """Send it whole."""
    head = [(b"content-length", b"%d" % len(response.content)), *response.headers]
    await send({"type": "http.response.start", "status": response.status, "headers": head})
    await send({"type": "http.response.body", "body": response.content, "more_body": False})


def failure(error: Exception, name: bytes | None = None) -> Response:
    """The response to a request that failed; `name` is the id that its client gave it."""
    headers, more = [(b"content-type", MEDIA_TYPE.encode())], {}
    match error:
        case Unavailable():
            status, message = error.status, str(error)
            headers.append((b"retry-after", b"%d" % error.retry_after))
        case Refusal():
            status, message = error.status, str(error)
            more = {"abstention": error.abstention} if isinstance(error, Abstained) else {}
        case InputError():
            status, message = 400, str(error)
        case _:
            log.error("a request failed: %s", (name or b"without an id").decode(), exc_info=error)
            status, message = 500, "internal error"
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 405:
        headers.append((b"allow", b"POST"))
    if status in (408, 413):
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    return Response(status, headers, encode_error(message, **more))
