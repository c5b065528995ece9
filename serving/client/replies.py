"""What the service answers, typed; fields that a later version adds are passed over."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.client.errors import Abstained, ServerFault, error_of
from serving.refusals import Refusal
from serving.wire.npy_array import read_array

T = TypeVar("T")


class Channel(msgspec.Struct, frozen=True):
    """A channel of every array."""

    name: str = ""
    unit: str = ""


class Interval(msgspec.Struct, frozen=True):
    """What `lower` and `upper` are: the level, the kind, and what is guaranteed, if anything."""

    level: float
    kind: str
    guarantee: dict[str, Any] | None = None


class Quantiles(msgspec.Struct, frozen=True):
    """Of which levels `quantiles` are, and by which distribution: the model's stated "quantiles", or "gaussian"."""

    levels: tuple[float, ...]
    kind: str


class Exceedance(msgspec.Struct, frozen=True):
    """Of which thresholds `exceedance` is, and by which distribution, as of `Quantiles`."""

    thresholds: tuple[float, ...]
    kind: str


class Functional(msgspec.Struct, frozen=True):
    """What `functional.*` rest on: kind "exact", or "samples" and so many draws."""

    kind: str
    draws: int | None = None
    tail: float | None = None
    thresholds: tuple[float, ...] | None = None


class Abstention(msgspec.Struct, frozen=True):
    """The cases whose figure of strangeness is the threshold or more, and that of every case."""

    threshold: float
    cases: tuple[int, ...]
    scores: tuple[float | None, ...]


class Health(msgspec.Struct, frozen=True):
    """Live: it need not be restarted. Ready: it answers. models: the state of each NAME/VERSION."""

    live: bool
    ready: bool
    draining: bool = False
    models: dict[str, str] = {}


class Model(msgspec.Struct, frozen=True):
    """A version of a model, and why it does not answer if it does not."""

    name: str
    version: str
    state: str
    error: str | None = None
    digest: str | None = None
    signature: dict[str, Any] | None = None
    buckets: list[tuple[int, ...]] = []
    num_samples: int = 0
    calibration: dict[str, Any] | None = None
    provenance: dict[str, Any] = {}


class _About(msgspec.Struct, frozen=True):
    outputs: list[str]
    model: str
    version: str
    bucket: tuple[int, ...]
    method: str
    cached: bool
    channels: tuple[Channel, ...]
    interval: Interval | None = None
    approximate: dict[str, float] | None = None
    id: str | None = None
    quantiles: Quantiles | None = None
    exceedance: Exceedance | None = None
    functional: Functional | None = None
    abstention: Abstention | None = None


class _Models(msgspec.Struct, frozen=True):
    models: list[Model]


class _Error(msgspec.Struct, frozen=True):
    error: str
    abstention: Abstention | None = None


@dataclass(frozen=True, eq=False)
class Prediction:
    """An answer: the outputs that were asked for, by name, in physical units, and what the service says of them.

    arrays: (cases, *space, channels), samples (cases, num_samples, *space, channels), figures (cases,); without the
    cases axis where the inputs had none. approximate: how near the inputs were whose answer it is, if not these. id: by
    which a truth may name it, where it is remembered. quantiles, exceedance, functional: what
    those outputs are, where they were asked for. abstention: if the inputs are too strange and that was to be marked.
    request_id: what the call is known as in the service's log.
    """

    arrays: Mapping[str, NDArray[np.float32]]
    model: str
    version: str
    bucket: tuple[int, ...]
    method: str
    cached: bool
    channels: tuple[Channel, ...]
    interval: Interval | None
    approximate: Mapping[str, float] | None
    id: str | None
    quantiles: Quantiles | None
    exceedance: Exceedance | None
    functional: Functional | None
    abstention: Abstention | None
    request_id: str

    def __getitem__(self, output: str) -> NDArray[np.float32]:
        return self.arrays[output]


def read_prediction(reply: httpx.Response) -> Prediction:
    """The prediction in a reply of npy arrays."""
    about = _decode(reply.headers.get("answer", "").encode(), _About)
    arrays, end = {}, 0
    try:
        for name in about.outputs:
            array, end = read_array(reply.content, end, name)
            arrays[name] = array.copy()
    except Refusal as error:
        raise ServerFault(f"the answer is not what its header says: {error}", reply.status_code) from None
    fields = {name: getattr(about, name) for name in about.__struct_fields__ if name != "outputs"}
    return Prediction(arrays, request_id=reply.headers.get("x-request-id", ""), **fields)


def read_health(reply: httpx.Response) -> Health:
    """The health in a reply."""
    return _decode(reply.content, Health)


def read_models(reply: httpx.Response) -> list[Model]:
    """The models in a reply."""
    return _decode(reply.content, _Models).models


def read_object(reply: httpx.Response) -> dict[str, Any]:
    """The JSON object in a reply."""
    return _decode(reply.content, dict[str, Any])


def check(reply: httpx.Response, expected: tuple[int, ...]) -> httpx.Response:
    """The reply, if its status is one that is expected.

    Raises:
        ServingError: what the status stands for, with the server's message.
    """
    if reply.status_code in expected:
        return reply
    try:
        told = msgspec.json.decode(reply.content, type=_Error)
    except msgspec.DecodeError:  # a proxy's page
        told = _Error(f"{reply.status_code} {reply.reason_phrase}")
    error = error_of(reply.status_code, told.error, reply.headers.get("retry-after", ""))
    if isinstance(error, Abstained):
        error.abstention = told.abstention
    raise error


def _decode(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise ServerFault(f"the answer is none of this service: {error}") from None
