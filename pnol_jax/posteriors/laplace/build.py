"""From a config to the posterior, and what is refused before anything is trained."""

from pathlib import Path

from pnol_jax.cache import Cache
from pnol_jax.errors import InputError
from pnol_jax.posterior_config import LaplaceConfig
from pnol_jax.posteriors.laplace.kronecker import Kronecker, matrices
from pnol_jax.posteriors.laplace.low_rank import LowRank
from pnol_jax.posteriors.laplace.posterior import Laplace
from pnol_jax.posteriors.laplace.structure import Diagonal, Full, Structure
from pnol_jax.posteriors.laplace.subset import Subset, choose
from pnol_jax.posteriors.problem import Problem
from pnol_jax.posteriors.protocol import OPERATOR

FORWARD = ("none", "dots")  # rematerialisation that products with a Jacobian can be taken through


def build_laplace(config: LaplaceConfig, problem: Problem) -> Laplace:
    """The posterior around an operator that is trained by itself.

    Raises:
        InputError: what the config asks for cannot be done for this operator; the message says what can.
    """
    training, base = problem.training, problem.headed(config)
    if training.remat not in FORWARD:
        raise InputError(
            f"training.remat: got {training.remat!r}, which has no derivative forwards, as posterior.name = 'laplace' "
            f"needs; expected one of {list(FORWARD)}"
        )
    if config.heteroscedastic and not isinstance(config.noise, str):
        raise InputError(
            f"posterior.noise: got {config.noise:g}, but posterior.heteroscedastic = true has a head for it; expected "
            "'evidence' (a factor on the head's variance) or 'trained', or posterior.heteroscedastic = false"
        )
    shapes = {OPERATOR + name: shape for name, shape in problem.shapes(base).items()}
    subset = choose(config.parameters, shapes, base.axes, base.last_layer)
    return Laplace(
        base=base,
        subset=subset,
        structure=_structure(config, subset, training.seed),
        observations=config.observations,
        prior=config.prior_precision,
        noise=config.noise,
        layerwise=config.prior == "layerwise",
        probes=config.probes,
        cache=Cache(Path(config.cache)) if config.cache else None,
    )


def _structure(config: LaplaceConfig, subset: Subset, seed: int) -> Structure:
    match config.structure:
        case "full":
            if subset.size > config.exact:
                raise InputError(_too_many(config, subset))
            return Full()
        case "kronecker":
            matrices(subset)
            return Kronecker(subset, config.exact, config.probes, seed)
        case "diagonal":
            return Diagonal(config.exact, config.probes, seed)
    if config.rank > subset.size:
        raise InputError(f"posterior.rank: got {config.rank}, expected at most {subset.size}, the number of parameters")
    return LowRank(config.rank, seed)


def _too_many(config: LaplaceConfig, subset: Subset) -> str:
    gigabytes = 8 * subset.size**2 / 1e9
    return (
        f"posterior.structure: 'full' for parameters = {config.parameters!r} is a matrix of {subset.size:,} x "
        f"{subset.size:,} numbers, {gigabytes:,.3g} GB, and as many products with the Jacobian; expected at most "
        f"posterior.exact = {config.exact} parameters: take 'low_rank', 'kronecker' or 'diagonal', or fewer of them, "
        "such as 'last_layer'"
    )
