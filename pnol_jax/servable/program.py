"""The programs of a servable: what they are called with and what they give.

A program is `program(weights, inputs, operands[, keys][, fields]) -> arrays`, with flat dicts of arrays at its
boundary:

- weights: {name: array};
- inputs: (batch, *bucket, input channels), float32, zero on padding;
- operands: {"axes.0.analysis": (batch, n, K), ...}, the grid of each case;
- keys: (batch, 2), uint32, threefry keys, of "samples": a case's draws do not depend on its batch; of "step"
  (batch, 3), the key of a trajectory's draws and the number of the step, from 0;
- fields, float32, zero on padding: of "functional" the weights w of int sum_c w_c u_c dx, of "vjp" a cotangent of the
  mean, (batch, *bucket, output channels); of "jvp" a tangent of the inputs; of "step" the states of all draws,
  (batch, num_samples, *bucket, output channels).

"moments" gives mean, aleatoric and epistemic variance and, of a calibrated model, lower and upper:
(batch, *bucket, output channels); and of a model that states quantiles these, at the signature's levels:
(batch, levels, *bucket, output channels). "samples" gives samples: (batch, num_samples, *bucket, output channels). Each
gives the figures that the signature says are its own: (batch,). "functional" gives functional.mean and functional.std,
(batch,): a request's functionals are as many cases, so that they are batched and priced as cases are. "step"
(`pnol_jax.servable.march`) gives the states one step later, and their mean and deviation over the draws; "jvp" and
"vjp" (`pnol_jax.servable.derivatives`) the mean, and the product of its Jacobian in the inputs, or of the transpose,
with the field.
The batch is symbolic, the bucket is not; one file holds the program for every platform.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from pnol_jax.bases import AxisOperands, GridOperands, make_operands
from pnol_jax.errors import InputError
from pnol_jax.precision import exact
from pnol_jax.predictive import Predictive
from pnol_jax.servable.manifest import Answers, Signature

MOMENTS = ("mean", "aleatoric", "epistemic")
BAND = ("lower", "upper")
KEYED = ("samples", "step")
QUANTILES = "quantiles"
MEAN_AND_STD = ("functional.mean", "functional.std")
_LEAVES = tuple(field.name for field in dataclasses.fields(AxisOperands))

Arrays = dict[str, Any]


class Predict(Protocol):
    """A posterior's predict with its state as a flat dict: pure and jittable, physical units in and out."""

    def __call__(
        self, weights: Arrays, inputs: jax.Array, grid: GridOperands, key: jax.Array, *, num_samples: int = ...
    ) -> Predictive:
        """Inputs (batch, *space, channels) on grids with operands per case."""
        ...


class Functional(Protocol):
    """A model's own distribution of a linear functional: pure and jittable, physical units in and out."""

    def __call__(
        self, weights: Arrays, inputs: jax.Array, grid: GridOperands, functional: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of int sum_c w_c u_c dx, (batch,) each, w (batch, *space, output channels)."""
        ...


def flatten_operands(operands: GridOperands) -> Arrays:
    """The operands as a flat dict, "axes.0.analysis" and so on."""
    return {f"axes.{i}.{leaf}": getattr(axis, leaf) for i, axis in enumerate(operands.axes) for leaf in _LEAVES}


def unflatten_operands(flat: Mapping[str, Any]) -> GridOperands:
    """The inverse of `flatten_operands`."""
    axes = range(len(flat) // len(_LEAVES))
    return GridOperands(tuple(AxisOperands(**{leaf: flat[f"axes.{i}.{leaf}"] for leaf in _LEAVES}) for i in axes))


def case_keys(seed: int, cases: int, step: int | None = None, first: int = 0) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """The threefry keys of a request's cases, (cases, 2): the seed and the case's position, from `first` on.

    Those of a step, (cases, 3), end with its number.
    """
    keys = np.empty((cases, 2 if step is None else 3), np.uint32)
    keys[:, 0], keys[:, 1] = seed, np.arange(first, first + cases)
    keys[:, 2:] = step or 0
    return keys


def moments(predict: Predict) -> Callable[..., Arrays]:
    """The program for mean, variances and, where the predictive has them, band and figures; always of the same key."""

    def program(weights: Arrays, inputs: jax.Array, operands: Arrays) -> Arrays:
        key = jax.random.key(0, impl="threefry2x32")
        with exact():
            predictive = predict(weights, inputs, unflatten_operands(operands), key)
        names = MOMENTS if predictive.lower is None else MOMENTS + BAND
        arrays = {name: getattr(predictive, name).astype(np.float32) for name in names}
        if predictive.quantiles is not None:
            arrays[QUANTILES] = jnp.moveaxis(predictive.quantiles, 0, 1).astype(np.float32)
        return arrays | {name: value.astype(np.float32) for name, value in (predictive.figures or {}).items()}

    return program


def samples(predict: Predict, num_samples: int) -> Callable[..., Arrays]:
    """The program for draws, and figures made of them; each case is drawn with its own key."""

    def one(weights: Arrays, inputs: jax.Array, operands: Arrays, key: jax.Array) -> Arrays:
        grid = unflatten_operands({name: leaf[None] for name, leaf in operands.items()})
        typed = jax.random.wrap_key_data(key, impl="threefry2x32")
        with exact():
            predictive = predict(weights, inputs[None], grid, typed, num_samples=num_samples)
        if predictive.samples is None:
            raise InputError("predict: got no samples, expected them since the signature's answers name 'samples'")
        figures = {name: value[0].astype(np.float32) for name, value in (predictive.figures or {}).items()}
        return {"samples": predictive.samples[:, 0].astype(np.float32)} | figures

    def program(weights: Arrays, inputs: jax.Array, operands: Arrays, keys: jax.Array) -> Arrays:
        answers: Arrays = jax.vmap(one, in_axes=(None, 0, 0, 0))(weights, inputs, operands, keys)
        return answers

    return program


def functionals(functional: Functional) -> Callable[..., Arrays]:
    """The program for the mean and deviation of a functional, one for each case."""

    def program(weights: Arrays, inputs: jax.Array, operands: Arrays, of: jax.Array) -> Arrays:
        with exact():
            mean, variance = functional(weights, inputs, unflatten_operands(operands), of)
        values = (mean, jnp.sqrt(variance))
        return {name: value.astype(np.float32) for name, value in zip(MEAN_AND_STD, values, strict=True)}

    return program


def argument_shapes(
    signature: Signature, weights: Mapping[str, Any], bucket: tuple[int, ...], answer: Answers, batch: Any, draws: int
) -> tuple[Any, ...]:
    """Shapes and dtypes of a program's arguments; `batch` is a number or a symbolic dimension."""

    def shape(leaf: Any, *lead: Any) -> jax.ShapeDtypeStruct:
        return _shape((*lead, *leaf.shape), leaf.dtype)

    operands = flatten_operands(make_operands(signature.uniform_grid(bucket), signature.bases()))
    arguments = (
        {name: shape(array) for name, array in weights.items()},
        _shape((batch, *bucket, len(signature.inputs)), np.float32),
        {name: shape(leaf, batch) for name, leaf in operands.items()},
    )
    return *arguments, *added_shapes(signature, bucket, answer, batch, draws)


def added_shapes(
    signature: Signature, bucket: tuple[int, ...], answer: Answers, batch: Any, draws: int
) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes and dtypes of what a program takes beside inputs and operands: keys and fields."""
    outputs = len(signature.outputs)
    added: dict[Answers, tuple[jax.ShapeDtypeStruct, ...]] = {
        "samples": (_shape((batch, 2), np.uint32),),
        "functional": (_shape((batch, *bucket, outputs), np.float32),),
        "step": (_shape((batch, 3), np.uint32), _shape((batch, draws, *bucket, outputs), np.float32)),
        "jvp": (_shape((batch, *bucket, len(signature.inputs)), np.float32),),
        "vjp": (_shape((batch, *bucket, outputs), np.float32),),
    }
    return added.get(answer, ())


def _shape(shape: tuple[Any, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]
