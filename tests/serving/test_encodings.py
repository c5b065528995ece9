"""A body is inflated as zlib would, and never beyond its limit."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from serving.refusals import Refusal, TooLarge, Unsupported
from serving.wire.encodings import find_encoding

CONTENT = np.random.default_rng(0).integers(0, 50, 100_000).astype("<f4").tobytes()
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "X-GZIP": gzip.compress,
    "deflate": zlib.compress,
}


def read(encoding: str, content: bytes, limit: int, size: int) -> bytes:
    reader = find_encoding(encoding, limit)
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    body = b"".join(step for piece in pieces for step in reader.feed(piece))
    reader.finish()
    return body


@pytest.mark.parametrize("encoding", COMPRESS)
@pytest.mark.parametrize("size", [1009, 4096, 10_000_000])
def test_what_was_compressed_comes_back_in_pieces_of_any_size(encoding: str, size: int) -> None:
    content = COMPRESS[encoding](CONTENT)
    assert read(encoding, content, len(CONTENT), size) == CONTENT
    with pytest.raises(TooLarge, match=f"more than {len(CONTENT) - 1} bytes"):
        read(encoding, content, len(CONTENT) - 1, size)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_costs_no_more_memory_than_the_limit(encoding: str) -> None:
    bomb, limit = COMPRESS[encoding](bytes(2**28)), 2**20
    tracemalloc.start()
    with pytest.raises(TooLarge):
        read(encoding, bomb, limit, len(bomb))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * limit


def test_a_stream_that_inflates_to_nothing_has_an_end_too() -> None:
    empty_block = b"\x00\x00\x00\xff\xff"  # which is not the last
    assert zlib.decompressobj().decompress(b"\x78\x9c" + 500 * empty_block) == b""
    with pytest.raises(TooLarge):
        read("deflate", b"\x78\x9c" + 500 * empty_block, 1000, 100)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_what_is_damaged_or_cut_is_refused(encoding: str) -> None:
    content = bytearray(COMPRESS[encoding](CONTENT))
    for damaged in (content[:-1], content[:10], content + b"x", b"", content[:5000] + b"\xff" * 9 + content[5009:]):
        with pytest.raises(Refusal, match=encoding):
            read(encoding, bytes(damaged), 2 * len(CONTENT), 4096)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, deflate", "gzip;q=1"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(Unsupported, match=f"got '{encoding}', expected gzip, deflate or none"):
        find_encoding(encoding, 1)
