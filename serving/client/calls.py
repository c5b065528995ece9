"""The calls of the service, as what is sent and how the reply is read; both clients send the same."""

import io
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

import httpx
import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike, NDArray

from pnol_jax.errors import InputError
from serving.client.replies import (
    Health,
    Model,
    Prediction,
    check,
    read_health,
    read_models,
    read_object,
    read_prediction,
)

T = TypeVar("T")
CONNECT_SECONDS = 5.0
SEVERAL = frozenset(("outputs", "quantiles", "thresholds", "functional_thresholds"))  # in one text, with commas


class Asking(TypedDict, total=False):
    """What `predict` may say beside the inputs; what is left out, the service chooses.

    model, version: the only model and its newest version. coordinates: (n,) per axis, of points that are not equally
    spaced. outputs: of mean, std, aleatoric, epistemic, lower, upper, interval (both of these), samples, and the
    model's figures; mean and std. level: of the interval, that of its guarantee. num_samples: all that the model has.
    seed: of the samples, 0. deadline: seconds for all tries of the call, the client's own.

    quantiles: levels of the output of that name. thresholds: of the output exceedance, the probability at each point of
    more than that. functionals: weights (functionals, *space, channels) of integrals of the outputs, whose
    functional.mean and functional.std come; an axis of 1 is the same along it. functional_thresholds: one for each, of
    functional.exceedance. tail: level of functional.tail, the mean over the largest share 1 - tail. abstain: "mark" or
    "refuse", where the figure ood is abstain_from or more (that of the model's alarm).
    """

    model: str | None
    version: str | None
    coordinates: Sequence[ArrayLike] | None
    outputs: Sequence[str] | None
    level: float | None
    num_samples: int | None
    seed: int | None
    deadline: float | None
    quantiles: Sequence[float] | None
    thresholds: Sequence[float] | None
    functionals: ArrayLike | None
    functional_thresholds: Sequence[float] | None
    tail: float | None
    abstain: Literal["mark", "refuse"] | None
    abstain_from: float | None


@dataclass(frozen=True, eq=False)
class Call(Generic[T]):
    """A request and the reading of its reply. Each try sends the same key."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    expected: tuple[int, ...] = (200,)
    parameters: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    states_timeout: bool = False

    def request(self, http: httpx.Client | httpx.AsyncClient, remaining: float) -> httpx.Request:
        """The request of one try, which has `remaining` seconds; a prediction's tells the service so."""
        return http.build_request(
            self.method,
            self.path,
            params={**self.parameters, **({"timeout": repr(remaining)} if self.states_timeout else {})},
            content=self.content,
            headers={**self.headers, "idempotency-key": self.key},
            timeout=httpx.Timeout(remaining, connect=min(remaining, CONNECT_SECONDS)),
        )

    def answer(self, reply: httpx.Response) -> T:
        """What the reply says, once it was read.

        Raises:
            ServingError: what its status stands for.
        """
        return self.read(check(reply, self.expected))


def predict(inputs: ArrayLike, asking: Asking) -> Call[Prediction]:
    """`POST /predict` of ([cases,] *space, channels) as npy: no other format is smaller, and none is read faster."""
    said: dict[str, Any] = {name: value for name, value in asking.items() if value is not None}
    beside = [*said.pop("coordinates", ()), *([said.pop("functionals")] if "functionals" in said else [])]
    said.pop("deadline", None)
    for name in SEVERAL & said.keys():
        said[name] = ",".join(map(str, said[name]))
    file = io.BytesIO()
    for array in (inputs, *beside):
        npy.write_array(file, floats(array), allow_pickle=False)
    parameters = {name: str(value) for name, value in said.items()}
    headers = {"content-type": "application/x-npy"}
    content = file.getvalue()
    return Call("POST", "/predict", read_prediction, (200,), parameters, content, headers, states_timeout=True)


def health() -> Call[Health]:
    """`GET /health`, which says with 503 that it is not ready."""
    return Call("GET", "/health", read_health, (200, 503))


def models() -> Call[list[Model]]:
    """`GET /models`."""
    return Call("GET", "/models", read_models)


def metadata(model: str | None, version: str | None) -> Call[dict[str, Any]]:
    """The Open Inference Protocol's metadata of the server, of a model, or of a version."""
    path = "/v2" if model is None else f"/v2/models/{quote(model, safe='')}"
    return Call("GET", path if version is None else f"{path}/versions/{quote(version, safe='')}", read_object)


def check_concurrency(concurrency: int) -> None:
    """Refuse a number of calls at a time that is none."""
    if concurrency < 1:
        raise InputError(f"concurrency: got {concurrency}, expected at least 1")


def floats(array: ArrayLike) -> NDArray[Any]:
    """The array, any shape, as little-endian float32, or as float64 if it holds other real numbers."""
    values = np.asarray(array)
    if values.dtype.kind not in "fiub":
        raise InputError(f"inputs: got dtype {values.dtype}, expected real numbers")
    return values.astype("<f4" if values.dtype == np.float32 else "<f8", copy=False)
