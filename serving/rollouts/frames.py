"""The frames of a streamed rollout: what it is, then every step, and last an error if there is one.

In JSON a frame is a line (`application/x-ndjson`); in msgpack it is a map behind its length, four bytes, little-endian
(`application/x-msgpack-frames`). A stream is whole when its last step is the number of steps that its first frame says.
"""

from typing import Any

import msgspec

from serving.abstention import Abstention
from serving.rollouts.query import Rollout
from serving.rollouts.service import Step
from serving.wire import json, msgpack
from serving.wire.named import accepted, encode

LINES, PACKED = "application/x-ndjson", "application/x-msgpack-frames"
_STREAMS = {json.MEDIA_TYPE: LINES, LINES: LINES, msgpack.MEDIA_TYPE: PACKED, PACKED: PACKED}


def stream_type(accept: str, content_type: str) -> str:
    """The media type of the stream, by what a request says."""
    return _STREAMS[accepted(accept, content_type, tuple(_STREAMS))]


def head(rollout: Rollout, abstention: Abstention | None, media_type: str) -> bytes:
    """The first frame, with what there is to say of how strange the first state is."""
    manifest = rollout.manifest
    about = {
        "model": manifest.name,
        "version": manifest.version,
        "bucket": rollout.bucket,
        "method": manifest.signature.method,
        "channels": manifest.signature.outputs,
        "time_step": manifest.signature.time_step,
        "draws": manifest.num_samples,
        "steps": rollout.options.steps,
        "stride": rollout.options.stride,
        "outputs": rollout.options.outputs,
        **({} if abstention is None else {"abstention": abstention}),
    }
    return _framed(_plain(about, media_type), media_type)


async def of_step(step: Step, media_type: str) -> bytes:
    """The frame of a step."""
    form = msgpack.MEDIA_TYPE if media_type == PACKED else json.MEDIA_TYPE
    return _framed(await encode({"step": step.number, "time": step.time}, step.arrays, form), media_type)


def of_error(message: str, status: int, media_type: str) -> bytes:
    """The last frame of a stream that ends before its steps do; the status is what the answer would have had."""
    return _framed(_plain({"error": message, "status": status}, media_type), media_type)


def _plain(values: dict[str, Any], media_type: str) -> bytes:
    return msgspec.msgpack.encode(values) if media_type == PACKED else json.encode(values)


def _framed(content: bytes, media_type: str) -> bytes:
    return len(content).to_bytes(4, "little") + content if media_type == PACKED else content + b"\n"
