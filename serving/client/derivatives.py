"""Products with the derivative of the mean, for loops that design inputs by gradients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import httpx
import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.client.arrays import MEDIA_TYPE, Packed, body
from serving.client.calls import Call
from serving.client.errors import ServerFault
from serving.client.replies import Abstention


class Where(TypedDict, total=False):
    """Of which model and grid a derivative is asked, when none should come, and its deadline, as `Asking` has them."""

    model: str | None
    version: str | None
    coordinates: Sequence[ArrayLike] | None
    deadline: float | None
    abstain: Literal["mark", "refuse"] | None
    abstain_from: float | None


@dataclass(frozen=True, eq=False)
class Derivative:
    """The mean at the inputs, and the product with its Jacobian, both in physical units.

    mean: (cases, *space, output channels); product: of a tangent shaped as the mean, of a cotangent as the inputs.
    Without the cases axis where the inputs had none. abstention: if the inputs are too strange, which was to be marked.
    """

    mean: NDArray[np.float32]
    product: NDArray[np.float32]
    model: str
    version: str
    abstention: Abstention | None = None


class _Answer(msgspec.Struct, frozen=True):
    model: str
    version: str
    outputs: dict[str, Packed]
    abstention: Abstention | None = None


def call(inputs: ArrayLike, name: Literal["tangent", "cotangent"], field: ArrayLike, where: Where) -> Call[Derivative]:
    """`POST /derivatives`, of inputs and a field ([cases,] *space, channels)."""
    said: Mapping[str, Any] = where
    content = body(inputs, said, **{name: field})
    headers = {"content-type": MEDIA_TYPE}
    product = "jvp" if name == "tangent" else "vjp"
    return Call("POST", "/derivatives", lambda reply: _read(reply, product), (200,), {}, content, headers)


def _read(reply: httpx.Response, product: str) -> Derivative:
    try:
        answer = msgspec.msgpack.decode(reply.content, type=_Answer)
        mean, found = (answer.outputs[name].array() for name in ("mean", product))
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        raise ServerFault(f"the answer is none of this service: {error}", reply.status_code) from None
    return Derivative(mean, found, answer.model, answer.version, answer.abstention)
