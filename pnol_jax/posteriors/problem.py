"""What a posterior is built for: operators of some channels, the bases that they stand on, so many training cases."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax

from pnol_jax.bases import Basis
from pnol_jax.config import TrainingConfig
from pnol_jax.errors import InputError
from pnol_jax.operators import Functional
from pnol_jax.posterior_config import HeadConfig
from pnol_jax.posteriors.deterministic import Deterministic, LossKind
from pnol_jax.posteriors.protocol import OPERATOR

# (output channels, seed[, input channels beside those of the data]); without a seed, shapes only.
BuildOperator = Callable[..., Functional]
BESIDE = 2**20  # added to the seed of an operator that is trained beside another


class Problem(NamedTuple):
    """The training section, how operators are made, output channels, bases, and the number of input-output pairs."""

    training: TrainingConfig
    build: BuildOperator
    outputs: int
    bases: tuple[Basis, ...] = ()
    cases: int = 0

    def headed(self, config: HeadConfig) -> Deterministic:
        """A mean with the head of a config, trained by the run's loss."""
        return self.network(self.outputs, config.heteroscedastic, self.training.loss, config.beta)

    def network(
        self,
        outputs: int,
        heteroscedastic: bool = False,
        loss: LossKind = "relative_l2",
        beta: float = 0.0,
        more_inputs: int = 0,
        prefix: str = OPERATOR,
    ) -> Deterministic:
        """An operator with normalised inputs and outputs, whose parameters go by `prefix`.

        With `more_inputs` channels it is no posterior by itself, and asked by `raw` only.
        """
        channels, training = outputs * (2 if heteroscedastic else 1), self.training
        if (training.increment or training.band_limited) and (more_inputs or outputs != self.outputs):
            raise InputError(
                "training.increment, training.band_limited: got true with a posterior whose operator does not give the "
                "outputs' mean; expected false, or another posterior than 'quantile' and 'flow'"
            )
        beside = 0 if prefix == OPERATOR else BESIDE

        def make(seed: int | None) -> Functional:
            return self.build(channels, seed, more_inputs) if more_inputs else self.build(channels, seed)

        template = make(None)
        return Deterministic(
            apply=template.apply,
            start=lambda seed: make(seed + beside).params,
            outputs=outputs,
            names=template.axes,
            loss_kind=loss,
            heteroscedastic=heteroscedastic,
            beta=beta,
            pushforward=training.pushforward,
            input_noise=training.input_noise,
            increment=training.increment,
            band_limited=training.band_limited,
            precision=training.precision,
            prefix=prefix,
            last_layer=template.last_layer,
        )

    def shapes(self, of: Deterministic) -> Mapping[str, tuple[int, ...]]:
        """The shapes of an operator's parameters, by name."""
        drawn = jax.eval_shape(lambda: of.start(0))
        return {name: leaf.shape for name, leaf in drawn.items()}

    def check_loss(self, name: str, loss: str, same: str | None = None) -> None:
        """Refuse another loss than the posterior's own, which a config need not name; `same` is its name, if any.

        Raises:
            InputError: the training section asks for one.
        """
        asked = self.training.loss
        if asked not in (TrainingConfig().loss, same):
            raise InputError(
                f"training.loss: got {asked!r}, but posterior.name = {name!r} is trained by {loss}; expected none named"
            )
