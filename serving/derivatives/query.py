"""What a derivative is asked with: inputs, and a tangent of them or a cotangent of the mean."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from pnol_jax.servable import Bucket, Manifest, Signature
from serving.engine import Job
from serving.ladder import Ladder
from serving.monitoring.record import RECORD
from serving.monitoring.stages import Stages
from serving.query import Common, Options
from serving.question import Question, check, finite
from serving.refusals import Refusal
from serving.releases.service import ReleasingService
from serving.settings import Settings
from serving.wire.msgpack import Array
from serving.wire.named import Bodies, Shape, query_of, read
from serving.wire.numbers import Numbers

Product = Literal["jvp", "vjp"]


class DerivativesBody(Common, frozen=True, kw_only=True):
    """The body of `POST /derivatives` in JSON, with one of `tangent` and `cotangent`."""

    inputs: Numbers
    shape: Shape | None = None
    coordinates: tuple[Numbers, ...] | None = None
    tangent: Numbers | UnsetType = UNSET  # shaped as the inputs, in their units
    cotangent: Numbers | UnsetType = UNSET  # shaped as the mean, in units of an objective over the mean's


class DerivativesPack(Common, frozen=True, kw_only=True):
    """The same in msgpack."""

    inputs: Array
    coordinates: tuple[Array, ...] | None = None
    tangent: Array | UnsetType = UNSET
    cotangent: Array | UnsetType = UNSET


BODIES: Bodies[Common] = Bodies(DerivativesBody, DerivativesPack)


@dataclass(frozen=True, eq=False)
class Derivative:
    """A product that fits a model, and the question that the same inputs would be."""

    ladder: Ladder
    question: Question
    options: Options
    job: Job
    cached: ClassVar[bool] = False

    @property
    def manifest(self) -> Manifest:
        """Of the version that is asked."""
        return self.ladder.servable.manifest

    @property
    def bucket(self) -> Bucket:
        """Whose program is run."""
        return self.job.place.bucket

    @property
    def stages(self) -> Stages:
        """Where the time of the version's requests is counted."""
        return self.ladder.stages


def fit(asked: Any, service: ReleasingService, settings: Settings) -> Derivative:
    """Find the version that a derivative is asked of, and see that it fits.

    Raises:
        Refusal, InputError: shapes, values or grid do not fit, or the version has no derivatives.
    """
    given = {"jvp": asked.tangent, "vjp": asked.cotangent}
    products: list[Product] = [name for name in ("jvp", "vjp") if given[name] is not UNSET]
    if len(products) != 1:
        raise Refusal(f"body: got {'both' if products else 'neither'} of tangent and cotangent, expected one of them")
    product = products[0]
    query = query_of(asked, ("mean",))
    found = service.asked(query)
    ladder = service.repository.find(found.model, found.version)
    signature = ladder.servable.manifest.signature
    if product not in signature.answers:
        raise Refusal(
            "derivatives: this version has none; expected one that was exported with export.derivatives = true"
        )
    question = check(query, ladder.places, settings.max_cases)
    what = "tangent" if product == "jvp" else "cotangent"
    field = _fitting(read(given[product], what), question, signature, product, what)
    job = Job(ladder, question.place, product, question.inputs, 0, asked.priority, fields=(field,), record=RECORD.get())
    return Derivative(ladder, question, query.options, job)


def _fitting(
    field: NDArray[Any], question: Question, signature: Signature, product: Product, what: str
) -> NDArray[np.float32]:
    """The field as (cases, *space, channels); it may leave out what the inputs may, or be flat."""
    channels = len(signature.inputs if product == "jvp" else signature.outputs)
    whole = (*question.inputs.shape[:-1], channels)
    own = whole[1:] if question.single else whole
    allowed = [own, (field.size,) if field.size == np.prod(whole) else own, *([own[:-1]] if channels == 1 else [])]
    if field.shape not in allowed:
        raise Refusal(f"{what}: got shape {list(field.shape)}, expected {list(own)}")
    return finite(field.reshape(whole), what)
