"""The operators there are, by the name that a config gives them. Adding one is a file and a line here."""

from collections.abc import Mapping, Sequence
from typing import Any

from flax import nnx

from pnol_jax.bases import Basis
from pnol_jax.operators.deeponet import DeepONet
from pnol_jax.operators.ffno import FFNO
from pnol_jax.operators.fno import FNO
from pnol_jax.operators.transolver import Transolver
from pnol_jax.operators.uno import UNO

OPERATORS: Mapping[str, type[nnx.Module]] = {
    "fno": FNO,
    "ffno": FFNO,
    "deeponet": DeepONet,
    "uno": UNO,
    "transolver": Transolver,
}


def build_operator(
    name: str, inputs: int, outputs: int, bases: Sequence[Basis], options: Mapping[str, Any], rngs: nnx.Rngs
) -> nnx.Module:
    """An operator from input to output channels on the given bases; `options` are its keyword arguments."""
    build: Any = OPERATORS[name]
    operator: nnx.Module = build(inputs, outputs, bases, **options, rngs=rngs)
    return operator
