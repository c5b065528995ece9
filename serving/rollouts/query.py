"""What a rollout is asked with, and what it comes to for a model."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from pnol_jax.servable import Bucket, Manifest, Signature
from serving.ladder import Ladder
from serving.monitoring.stages import Stages
from serving.query import Common, Options
from serving.question import Question, check
from serving.refusals import Refusal, TooLarge
from serving.releases.service import ReleasingService
from serving.settings import Settings
from serving.wire.msgpack import Array
from serving.wire.named import Bodies, Shape, query_of
from serving.wire.numbers import Numbers

OUTPUTS = ("mean", "std", "samples")
Count = Annotated[int, msgspec.Meta(ge=1)]


class RolloutOptions(Common, frozen=True, kw_only=True):
    """What a rollout may say beside its arrays. `timeout`: of each step. `stride`: every so many steps one is sent."""

    steps: Count
    stride: Count = 1
    outputs: tuple[str, ...] = ("mean", "std")
    num_samples: Count | None = None  # draws to be sent; mean and std are always those of all
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0  # of the draws


class RolloutBody(RolloutOptions, frozen=True, kw_only=True):
    """The body of `POST /rollout` in JSON: the first state with what stays the same, and its grid."""

    inputs: Numbers
    shape: Shape | None = None
    coordinates: tuple[Numbers, ...] | None = None


class RolloutPack(RolloutOptions, frozen=True, kw_only=True):
    """The same in msgpack."""

    inputs: Array
    coordinates: tuple[Array, ...] | None = None


BODIES: Bodies[RolloutOptions] = Bodies(RolloutBody, RolloutPack)


@dataclass(frozen=True, eq=False)
class Rollout:
    """A rollout that fits a model, and the question that its first state would be."""

    ladder: Ladder
    question: Question
    asked: Options
    options: RolloutOptions
    num_samples: int
    cached: ClassVar[bool] = False

    @property
    def manifest(self) -> Manifest:
        """Of the version that steps, which stays the same to the end."""
        return self.ladder.servable.manifest

    @property
    def bucket(self) -> Bucket:
        """Whose program steps."""
        return self.question.place.bucket

    @property
    def stages(self) -> Stages:
        """Where the time of the version's requests is counted."""
        return self.ladder.stages

    @property
    def first(self) -> NDArray[np.float32]:
        """The first state of every draw, (cases, draws, *space, output channels)."""
        state = self.question.inputs[:, None, ..., : len(self.manifest.signature.outputs)]
        return np.broadcast_to(state, (len(state), self.manifest.num_samples, *state.shape[2:]))

    @property
    def nbytes(self) -> int:
        """Of the states of all draws."""
        return self.first.nbytes


def fit(asked: RolloutOptions, service: ReleasingService, settings: Settings) -> Rollout:
    """Find the version that a rollout is for, and see that it fits.

    Raises:
        Refusal, InputError: shapes, grid or options do not fit, or the model cannot march; the message says why.
        TooLarge: too many steps, cases or states.
    """
    query = query_of(asked, ("mean",))
    found = service.asked(query)
    ladder = service.repository.find(found.model, found.version)
    manifest = ladder.servable.manifest
    _check_marches(manifest.signature)
    _check_options(asked, manifest, settings)
    question = check(query, ladder.places, settings.max_cases)
    draws = manifest.num_samples if asked.num_samples is None else asked.num_samples
    rollout = Rollout(ladder, question, query.options, asked, draws)
    if rollout.nbytes > settings.rollout_bytes:
        raise TooLarge(f"inputs: got states of {rollout.nbytes} bytes, expected at most {settings.rollout_bytes}")
    return rollout


def _check_marches(signature: Signature) -> None:
    if "step" in signature.answers:
        return
    if signature.time_step is None:
        raise Refusal("rollout: this is no step model, whose outputs are a state that can be its next inputs")
    if "samples" not in signature.answers:
        raise Refusal(
            f"rollout: a model by '{signature.method}' has no draws that could march; expected one whose posterior "
            "has, such as 'coloured' or 'ensemble'"
        )
    raise Refusal(
        "rollout: this version was exported without steps; expected one that is exported now, of 2 draws or more"
    )


def _check_options(asked: RolloutOptions, manifest: Manifest, settings: Settings) -> None:
    if asked.steps > settings.rollout_steps:
        raise TooLarge(f"steps: got {asked.steps}, expected at most {settings.rollout_steps}")
    if asked.steps % asked.stride:
        raise Refusal(f"steps: got {asked.steps}, expected a multiple of the stride, {asked.stride}")
    unknown = [name for name in asked.outputs if name not in OUTPUTS]
    if unknown or not asked.outputs:
        raise Refusal(f"outputs: got {unknown or 'none'}, expected some of {list(OUTPUTS)}")
    if asked.num_samples is not None and asked.num_samples > manifest.num_samples:
        raise Refusal(f"num_samples: got {asked.num_samples}, expected at most {manifest.num_samples}")
