"""How good one answer was, once the truth is known: in NumPy, since what training scores with is not installed here."""

import numpy as np
from numpy.typing import NDArray

from pnol_jax.normal import cdf
from serving.refusals import Refusal
from serving.releases.tally import Scores

Field = NDArray[np.float64]


def score(mean: Field, std: Field, lower: Field, upper: Field, truth: Field, level: float) -> Scores:
    """Score an answer.

    Args:
        mean: (cases, *space, channels)
        std: the same shape, like all that follow
        lower: the interval's lower end
        upper: its upper end
        truth: what came true
        level: of the interval

    Sources: Gneiting, Raftery (2007), Section 4.2 (CRPS) and equation 43 (interval).
    """
    outside = np.maximum(lower - truth, 0) + np.maximum(truth - upper, 0)
    return Scores(
        error=float(np.mean(_relative_error(mean, truth))),
        crps=float(np.mean(_gaussian_crps(truth - mean, std))),
        coverage=float(np.mean(outside == 0)),
        interval=float(np.mean(upper - lower + 2 / (1 - level) * outside)),
    )


def fit_truth(truth: Field, shape: tuple[int, ...]) -> Field:
    """The truth in the shape of an answer's mean; the axis of a single channel may be left out.

    Raises:
        Refusal: another shape, or values that are not finite.
    """
    fitted = truth[..., None] if shape[-1] == 1 and truth.shape == shape[:-1] else truth
    if fitted.shape != shape:
        raise Refusal(f"truth: got shape {list(truth.shape)}, expected that of the answer, {list(shape)}")
    with np.errstate(over="ignore"):
        finite = np.isfinite(fitted.astype(np.float32))  # as fields are; the squares of larger ones are not
    if not finite.all():
        raise Refusal("truth: got values that are not finite in float32")
    return fitted


def _relative_error(mean: Field, truth: Field) -> Field:
    """||mean - truth|| / ||truth|| of each case and channel: (cases, channels)."""
    space = tuple(range(1, truth.ndim - 1))
    error, norm = (np.sqrt(np.mean(field**2, axis=space)) for field in (mean - truth, truth))
    relative: Field = np.divide(error, norm, out=np.where(error > 0, np.inf, 0.0), where=norm > 0)
    return relative


def _gaussian_crps(error: Field, std: Field) -> Field:
    safe = np.maximum(std, np.finfo(np.float32).tiny)
    z = error / safe
    peak = np.sqrt(2 / np.pi) * np.exp(-0.5 * z**2) - 1 / np.sqrt(np.pi)
    crps: Field = error * (2 * cdf(z) - 1) + std * peak
    return crps
