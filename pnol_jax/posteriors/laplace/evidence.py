"""Prior precision and noise by the marginal likelihood of the linearised model (MacKay 1992; Immer et al. 2021).

With G the Gauss-Newton matrix at the trained noise, gamma a factor on that noise and T the prior's precision, tau_g for
the parameters of group g,

    log p(y) = -1/2 [R / gamma + N log gamma + L] - 1/2 [sum_g tau_g |theta_g|^2 + log det(G / gamma + T) - log det T],

where R, N and L are the sums of `likelihood.Fit`. At its maximum tau_g |theta_g|^2 = m_g and R / gamma = N - sum_g m_g,
with m_g = tr_g(1 - Sigma T) the number of parameters of the group that the data determine.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
LEAST, MOST = 1e-10, 1e12  # of a prior's precision, and of gamma
ITERATIONS, TOLERANCE = 500, 1e-10


class Spectrum(Protocol):
    """A Gauss-Newton matrix, in the form that its structure has."""

    def solve(self, precision: Float64, gamma: float) -> tuple[float, Float64]:
        """log det(G / gamma + T) - log det T, and the number of determined parameters of each group, (groups,)."""
        ...


@dataclass(frozen=True)
class Data:
    """What the marginal likelihood needs besides: R, N, L, and |theta_g|^2 of each group, (groups,)."""

    residual: float
    observations: float
    log_noise: float
    squares: Float64


@dataclass(frozen=True)
class Evidence:
    """Prior precision (groups,), the factor gamma on the noise, and the marginal likelihood that they give."""

    precision: Float64
    gamma: float
    log_marginal: float


def log_marginal(spectrum: Spectrum, data: Data, precision: Float64, gamma: float) -> float:
    """The logarithm of the marginal likelihood, given the prior's precision (groups,)."""
    fit = data.residual / gamma + data.observations * np.log(gamma) + data.log_noise
    determinant, _ = spectrum.solve(precision, gamma)
    return float(-0.5 * (fit + precision @ data.squares + determinant))


def maximise(spectrum: Spectrum, data: Data, prior: float | None, noise: bool) -> Evidence:
    """Iterate the conditions of the maximum to their fixed point.

    Args:
        spectrum: of the training cases.
        data: how they are fitted.
        prior: the precision of every group where it is given.
        noise: whether gamma is to be found too; else it is 1.
    """
    precision = np.full(len(data.squares), prior or 1.0)
    gamma = 1.0
    for _ in range(ITERATIONS if noise or prior is None else 0):
        _, determined = spectrum.solve(precision, gamma)
        before = np.append(np.log(precision), np.log(gamma))
        if prior is None:
            precision = np.clip(determined / np.maximum(data.squares, 1 / MOST**2), LEAST, MOST)
        if noise:  # N - m may be negative far from the maximum, this is not
            gamma = max((data.residual + gamma * float(determined.sum())) / data.observations, LEAST)
        if np.abs(np.append(np.log(precision), np.log(gamma)) - before).max() < TOLERANCE:
            break
    return Evidence(precision, gamma, log_marginal(spectrum, data, precision, gamma))
