"""One HTTP request to a process of this machine, on a connection of its own."""

import asyncio
from collections.abc import Mapping

MOST_BYTES = 16 * 2**20


async def get(host: str, port: int, path: str, seconds: float, headers: Mapping[str, str] | None = None) -> "Reply":
    """The status and body of an answer to GET.

    HTTP/1.0, whose answer ends with its connection: a probe shares nothing with the one before it.

    Raises:
        OSError: nobody listens, or the connection broke.
        TimeoutError: the answer was not there in time.
        ValueError: what came is no HTTP.
    """
    lines = [f"GET {path} HTTP/1.0", f"host: {host}:{port}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(host, port, limit=MOST_BYTES)
        try:
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            answer = await reader.read(MOST_BYTES)
            while piece := await reader.read(MOST_BYTES):
                answer += piece
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise ValueError(f"http://{host}:{port}{path}: got {head[:40]!r}, expected HTTP")
    return int(words[1]), body


Reply = tuple[int, bytes]
