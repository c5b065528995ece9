"""What a caller asks, in any wire format."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from numpy.typing import NDArray

from pnol_jax.servable import FIELDS
from serving.engine.jobs import Priority
from serving.refusals import Refusal, explained

OUTPUTS = FIELDS
DEFAULT_OUTPUTS = ("mean", "std")
DEFAULT_LEVEL = 0.9
Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Shares = Annotated[tuple[Share, ...], msgspec.Meta(min_length=1, max_length=32)]
Thresholds = Annotated[tuple[float, ...], msgspec.Meta(min_length=1, max_length=64)]


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every request may say: of which model, how soon, who gets which version, and when none should answer."""

    model: str | None = None
    version: str | None = None
    timeout: Annotated[float, msgspec.Meta(gt=0)] | None = None  # seconds
    priority: Priority = "normal"  # who waits is asked in this order
    key: Annotated[str, msgspec.Meta(max_length=1024)] | None = None  # the same key gets the same version of a split
    abstain: Literal["mark", "refuse"] | None = None  # where the figure "ood" is too large; never less than the service
    abstain_from: float | None = None  # that figure; the model's own alarm if none


class Options(Common, frozen=True, kw_only=True):
    """What a prediction may say beside its arrays.

    `outputs`: of OUTPUTS, a figure, "interval" (lower and upper); what `quantiles` and all below it ask for comes too.
    """

    outputs: tuple[str, ...] = DEFAULT_OUTPUTS
    level: Share | None = None  # of the interval; that of its guarantee if none
    num_samples: Annotated[int, msgspec.Meta(ge=1)] | None = None  # draws; as many as one run makes if none
    seed: Annotated[int, msgspec.Meta(ge=0, lt=2**32)] = 0  # of the draws
    id: Annotated[str, msgspec.Meta(max_length=128)] | None = None  # by which a truth may name the request later
    quantiles: Shares | None = None  # levels of quantiles at each point
    thresholds: Thresholds | None = None  # above which the exceedance at each point is asked, in the outputs' unit
    tail: Share | None = None  # of functionals: the mean over the largest share 1 - tail (conditional value at risk)
    functional_thresholds: Thresholds | None = None  # one for each functional, whose exceedance is asked


@dataclass(frozen=True, eq=False)
class Query:
    """A request as it came.

    inputs: (*space, channels) or (cases, *space, channels), without the channel axis if there is one channel and the
    caller prefers; or flat, if `shape` gives the points per axis. coordinates: (n,) per axis. functionals: weights of
    integrals of the outputs, (functionals, *space, channels), as `serving.wanted` reads them.
    """

    options: Options
    inputs: NDArray[Any]
    shape: tuple[int, ...] | None = None
    coordinates: tuple[NDArray[Any], ...] | None = None
    functionals: NDArray[Any] | None = None

    @property
    def names(self) -> bool:
        """Whether it names levels, thresholds or weights of its own."""
        options = self.options
        return (
            self.functionals is not None
            or options.quantiles is not None
            or options.thresholds is not None
            or options.tail is not None
            or options.functional_thresholds is not None
        )


def convert_options(values: Any, where: str, *, strict: bool = True) -> Options:
    """Options from plain values; from texts if not strict."""
    try:
        return msgspec.convert(values, Options, strict=strict)
    except msgspec.ValidationError as error:
        raise Refusal(f"{where}: {explained(error, Options)}") from None
