"""The formats of `POST /predict` by their media types: how a query is read and how an answer is written."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from serving.answers import Answer
from serving.query import Query
from serving.refusals import Unsupported
from serving.wire import json, msgpack, npy, safetensors


@dataclass(frozen=True)
class Format:
    """decode: from the body and the URL's parameters. encode: the body and its own headers."""

    media_type: str
    decode: Callable[[bytes, Mapping[str, str]], Query]
    encode: Callable[[Answer], Awaitable[tuple[bytes, dict[str, str]]]]


async def _json(answer: Answer) -> tuple[bytes, dict[str, str]]:
    return await json.encode_answer(answer), {}


async def _npy(answer: Answer) -> tuple[bytes, dict[str, str]]:
    return npy.encode_answer(answer)


async def _msgpack(answer: Answer) -> tuple[bytes, dict[str, str]]:
    return msgpack.encode_answer(answer), {}


FORMATS = {
    form.media_type: form
    for form in (
        Format(json.MEDIA_TYPE, lambda body, _: json.decode_query(body), _json),
        Format(npy.MEDIA_TYPE, npy.decode_query, _npy),
        Format(msgpack.MEDIA_TYPE, lambda body, _: msgpack.decode_query(body), _msgpack),
        Format(safetensors.MEDIA_TYPE, safetensors.decode_query, safetensors.encode_answer),
    )
}


def find_format(content_type: str) -> Format:
    """The format of a request's body, JSON if it does not say.

    Raises:
        Unsupported: it is none of ours.
    """
    media_type = bare(content_type) or json.MEDIA_TYPE
    if media_type not in FORMATS:
        raise Unsupported(f"content-type: got {media_type!r}, expected one of {sorted(FORMATS)}")
    return FORMATS[media_type]


def accepted(accept: str, asked: Format) -> Format:
    """The format of the answer: the first of ours that `Accept` names, or that of the request."""
    named = (bare(part) for part in accept.split(","))
    return next((FORMATS[part] for part in named if part in FORMATS), asked)


def bare(text: str) -> str:
    """A media type without its parameters."""
    return text.partition(";")[0].strip().lower()
