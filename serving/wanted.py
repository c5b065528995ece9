"""What a caller names beside the model's own outputs (levels, thresholds, weights), checked against the model."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from pnol_jax.risk.draws import least_draws
from pnol_jax.servable import FUNCTIONAL, Signature
from serving.refusals import Refusal, TooLarge

if TYPE_CHECKING:
    from serving.query import Options

MAX_FUNCTIONALS = 64
MAX_NUMBERS = 2**25  # of the fields at levels and thresholds in one answer
LISTS = frozenset(("quantiles", "thresholds", "functional_thresholds"))
UNASKED: dict[str, Any] = dict.fromkeys((*LISTS, "tail", "abstain", "abstain_from"))  # a request without any


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a caller names. weights: of the functionals, (functionals, *space, channels); None where not asked."""

    quantiles: tuple[float, ...] | None = None
    thresholds: tuple[float, ...] | None = None
    weights: NDArray[np.float32] | None = None
    tail: float | None = None
    functional_thresholds: tuple[float, ...] | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs that these are asked by."""
        of_functionals = (self.weights, self.weights, self.tail, self.functional_thresholds)
        named = {"quantiles": self.quantiles, "exceedance": self.thresholds}
        named |= dict(zip(FUNCTIONAL, of_functionals, strict=True))  # type: ignore[arg-type]
        return tuple(name for name, given in named.items() if given is not None)

    @property
    def weights_digest(self) -> str:
        """What tells these functionals from all others."""
        assert self.weights is not None
        return f"{self.weights.shape} {blake3(self.weights.tobytes()).hexdigest()}"


NOTHING = Wanted()


def find_wanted(
    options: "Options", functionals: NDArray[Any] | None, signature: Signature, shape: tuple[int, ...]
) -> Wanted:
    """What options and weights name, for inputs of this shape, (cases, *space, channels).

    Raises:
        Refusal: levels or thresholds that are none, weights of another shape or of nothing.
    """
    if functionals is None and not (options.tail is None and options.functional_thresholds is None):
        raise Refusal("functionals: got tail or functional_thresholds without weights, expected those of functionals")
    _check_numbers(options.quantiles, "quantiles", increasing=True)
    _check_numbers(options.thresholds, "thresholds", increasing=True)
    _check_numbers(options.functional_thresholds, "functional_thresholds", increasing=False)
    fields = len(options.quantiles or ()) + len(options.thresholds or ())
    numbers = fields * math.prod(shape[:-1]) * len(signature.outputs)
    if numbers > MAX_NUMBERS:
        raise TooLarge(f"quantiles, thresholds: got fields of {numbers} numbers, expected at most {MAX_NUMBERS}")
    weights = None if functionals is None else _weights(functionals, signature, shape[1:-1])
    named = options.functional_thresholds
    if weights is not None and named is not None and len(named) != len(weights):
        raise Refusal(f"functional_thresholds: got {len(named)}, expected {len(weights)}, one for each functional")
    return Wanted(options.quantiles, options.thresholds, weights, options.tail, named)


def check_functionals(wanted: Wanted, signature: Signature, cases: int, max_cases: int, draws: int) -> None:
    """Refuse functionals that the model does not know and cannot draw, or too many of them.

    Raises:
        Refusal: which, and what would work.
    """
    if wanted.weights is None:
        return
    asked = cases * len(wanted.weights)
    if "functional" in signature.answers:
        if asked > max_cases:
            raise TooLarge(
                f"functionals: got {asked}, {len(wanted.weights)} for each of {cases} cases, expected at most "
                f"{max_cases} in one request"
            )
        return
    if "samples" not in signature.answers:
        raise Refusal(
            f"functionals: got some of a model by '{signature.method}', from whose variances at each point their error "
            "does not follow; expected a model with exact functionals, by 'laplace', or one that draws fields, such as "
            "'coloured' or 'ensemble'"
        )
    least = 2 if wanted.tail is None else max(2, least_draws(wanted.tail))
    if draws < least:
        what = "a deviation" if wanted.tail is None else f"a tail at {wanted.tail:g}"
        raise Refusal(f"num_samples: got {draws}, expected at least {least} draws for {what} of functionals")


def read_list(value: Any, where: str) -> Any:
    """Numbers from a text with commas, as URLs and parameters have them; anything else as it is."""
    if not isinstance(value, str):
        return [value] if isinstance(value, int | float) else value
    try:
        return [float(part) for part in value.split(",")]
    except ValueError:
        raise Refusal(f"{where}: got {value[:100]!r}, expected numbers with commas between them") from None


def _check_numbers(values: Sequence[float] | None, what: str, *, increasing: bool) -> None:
    if values is None:
        return
    if not all(map(math.isfinite, values)):
        raise Refusal(f"{what}: got {list(values)}, expected finite numbers")
    if increasing and any(low >= high for low, high in itertools.pairwise(values)):
        raise Refusal(f"{what}: got {list(values)}, expected them increasing")


def _weights(given: NDArray[Any], signature: Signature, space: tuple[int, ...]) -> NDArray[np.float32]:
    """Weights on all points and channels; an axis of one is the same along it, a single channel needs no axis."""
    channels = len(signature.outputs)
    expected = (*space, channels)
    weights = given[..., None] if channels == 1 and given.ndim == len(expected) else given
    fits = weights.ndim == len(expected) + 1 and len(weights) > 0
    if not fits or any(n not in (1, m) for n, m in zip(weights.shape[1:], expected, strict=True)):
        raise Refusal(
            f"functionals: got weights of shape {list(given.shape)}, expected (functionals, "
            f"{', '.join(map(str, expected))}), an axis of 1 for what is the same along it"
        )
    if len(weights) > MAX_FUNCTIONALS:
        raise TooLarge(f"functionals: got {len(weights)}, expected at most {MAX_FUNCTIONALS}")
    with np.errstate(over="ignore", invalid="ignore"):
        single = weights.astype(np.float32)
    if not np.isfinite(single).all():
        raise Refusal("functionals: got weights that are not finite in float32")
    return np.ascontiguousarray(np.broadcast_to(single, (len(weights), *expected)))
