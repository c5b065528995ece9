"""Content encodings of requests: gzip and deflate (the zlib format), inflated piece by piece up to a limit.

zstd would need a package of its own before Python 3.14, for little: the fields themselves hardly compress.
"""

import zlib
from collections.abc import Iterator

from serving.refusals import Refusal, TooLarge, Unsupported

_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
STEP = 4096  # bytes inflated at once, to at most about a thousand times as many


class Identity:
    """A body that is sent as it is."""

    def __init__(self, limit: int) -> None:
        self._left = self._limit = limit

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The body's next bytes.

        Raises:
            TooLarge: they are too many.
        """
        self._left -= len(piece)
        if self._left < 0:
            raise TooLarge(f"body: got more than {self._limit} bytes, expected at most that")
        yield piece

    def finish(self) -> None:
        """Nothing is left to be checked."""


class Inflater(Identity):
    """A body that is sent compressed; never more than the limit is inflated."""

    def __init__(self, encoding: str, limit: int) -> None:
        super().__init__(limit)
        self._compressed = Identity(limit)
        self._encoding = encoding
        self._state = zlib.decompressobj(_WINDOW_BITS[encoding])

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The next bytes that a piece inflates to, in steps between which others may go on.

        Raises:
            TooLarge: they are too many.
            Refusal: the bytes are not what the encoding says.
        """
        list(self._compressed.feed(piece))
        for start in range(0, len(piece), STEP):
            try:
                inflated = self._state.decompress(piece[start : start + STEP], self._left + 1)
            except zlib.error as error:
                raise Refusal(f"body: expected {self._encoding}: {error}") from None
            if self._state.unused_data:
                raise Refusal(f"body: got bytes behind the end of {self._encoding}, expected none")
            yield from super().feed(inflated)

    def finish(self) -> None:
        """Check that nothing is missing.

        Raises:
            Refusal: the body ends before its compressed stream does.
        """
        if not self._state.eof:
            raise Refusal(f"body: got {self._encoding} that is cut short")


def find_encoding(name: str, limit: int) -> Identity:
    """A reader of bodies of a content encoding, which gives at most `limit` bytes.

    Raises:
        Unsupported: it is none of ours.
    """
    name = name.strip().lower()
    if name in ("", "identity"):
        return Identity(limit)
    if name not in _WINDOW_BITS:
        raise Unsupported(f"content-encoding: got {name!r}, expected gzip, deflate or none")
    return Inflater(name, limit)
