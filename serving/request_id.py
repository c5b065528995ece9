"""What a client calls its request: said again in the answer and in the log, so that one call's tries are found.

Predictions are pure functions, so sending a request again is safe by itself: the id is for people, not for the service.
"""

import re
from collections.abc import Iterable

HEADER = b"x-request-id"
_NAMES = (b"idempotency-key", HEADER)
_PLAIN = re.compile(rb"[\x21-\x7e]{1,128}")


def find_request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The idempotency key, else the request id; None if there is neither, or it is more than a word of ASCII."""
    given = {name: value for name, value in headers if name in _NAMES and _PLAIN.fullmatch(value)}
    return next((given[name] for name in _NAMES if name in given), None)
