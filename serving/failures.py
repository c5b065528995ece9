"""Every error in one shape, `{"error": message}`, with its HTTP status; what is not the caller's fault stays untold.

An abstention has its scores beside the message.
"""

import logging
import secrets
from typing import NamedTuple

from litestar.types import Send

from pnol_jax.errors import InputError
from serving.monitoring.logs import FIELDS
from serving.monitoring.record import Record
from serving.refusals import Abstained, Refusal, Unavailable
from serving.request_id import HEADER
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


def failure(error: Exception, name: bytes | None = None, record: Record | None = None) -> Response:
    """The response to a request that failed.

    `name`: the id that its client gave it; what is not the caller's fault gets one if there is none, to be found by.
    """
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
            known = record.request_id if record else (name or secrets.token_hex(8).encode()).decode()
            log.error("a request failed: %s", known, exc_info=error, extra={FIELDS: {"request_id": known}})
            status, message = 500, "internal error"
            if name is None and record is None:
                headers.append((HEADER, known.encode()))
    if record is not None:
        record.error = message
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if status == 405:
        headers.append((b"allow", b"POST"))
    if status in (408, 413):
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    return Response(status, headers, encode_error(message, **more))
