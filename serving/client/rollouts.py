"""Rollouts: the call, and the steps in the frames that come."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.client.arrays import MEDIA_TYPE, Packed, body
from serving.client.calls import Call
from serving.client.errors import ConnectionLost, ServerFault, error_of
from serving.client.replies import Abstention


class Marching(TypedDict, total=False):
    """What `rollout` may say beside the first state and the steps; what is left out, the service chooses.

    model, version, coordinates, seed: as `Asking` has them; abstain, abstain_from too, of the first state. outputs: of
    mean, std, samples; mean and std. num_samples: draws to be sent. stride: every so many steps one is sent. timeout:
    seconds for each step. deadline: seconds until the rollout has begun, and for each piece after that, the client's
    own.
    """

    model: str | None
    version: str | None
    coordinates: Sequence[ArrayLike] | None
    outputs: Sequence[str] | None
    num_samples: int | None
    seed: int | None
    stride: int | None
    timeout: float | None
    deadline: float | None
    abstain: Literal["mark", "refuse"] | None
    abstain_from: float | None


@dataclass(frozen=True, eq=False)
class Step:
    """A step: its number from 1, the time since the first state, and the outputs by name, in physical units.

    arrays: mean and std (cases, *space, channels), samples (cases, num_samples, *space, channels); without the cases
    axis where the first state had none. abstention: if the first state is too strange and that was to be marked.
    """

    number: int
    time: float
    arrays: Mapping[str, NDArray[np.float32]]
    abstention: Abstention | None = None

    def __getitem__(self, output: str) -> NDArray[np.float32]:
        return self.arrays[output]


class _Head(msgspec.Struct, frozen=True):
    steps: int
    abstention: Abstention | None = None


class _Frame(msgspec.Struct, frozen=True):
    step: int = 0
    time: float = 0.0
    outputs: dict[str, Packed] = {}
    error: str | None = None
    status: int = 0


def call(inputs: ArrayLike, steps: int, asking: Marching) -> Call[None]:
    """`POST /rollout` from ([cases,] *space, channels), answered in frames of msgpack."""
    said: dict[str, Any] = {**asking, "steps": steps}
    return Call("POST", "/rollout", lambda _: None, (200,), {}, body(inputs, said), {"content-type": MEDIA_TYPE})


class Frames:
    """Finds the frames in the pieces of a stream: a map behind its length, four bytes, little-endian."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._head: _Head | None = None
        self._last = 0

    def feed(self, piece: bytes) -> Iterator[Step]:
        """The steps that are whole with this piece.

        Raises:
            ServingError: the frame is an error.
        """
        self._rest += piece
        while len(self._rest) >= 4:
            end = 4 + int.from_bytes(self._rest[:4], "little")
            if len(self._rest) < end:
                return
            frame = bytes(self._rest[4:end])
            del self._rest[:end]
            if self._head is None:
                self._head = _decode(frame, _Head)
            else:
                yield self._step(_decode(frame, _Frame), self._head.abstention)

    def finish(self) -> None:
        """The stream has ended.

        Raises:
            ConnectionLost: before its last step.
        """
        steps = self._head and self._head.steps
        if self._last != steps:
            raise ConnectionLost(f"the rollout ended after step {self._last}, expected {steps}")

    def _step(self, frame: _Frame, abstention: Abstention | None) -> Step:
        if frame.error is not None:
            raise error_of(frame.status, frame.error, "")
        self._last = frame.step
        arrays = {name: packed.array() for name, packed in frame.outputs.items()}
        return Step(frame.step, frame.time, arrays, abstention)


def _decode(frame: bytes, kind: Any) -> Any:
    try:
        return msgspec.msgpack.decode(frame, type=kind)
    except msgspec.DecodeError as error:
        raise ServerFault(f"the answer is none of this service: {error}") from None
