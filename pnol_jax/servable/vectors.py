"""Test vectors: a few inputs and the answers that the model gave where it was trained."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pnol_jax.bases import GridOperands, make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.grids import Grid
from pnol_jax.servable.manifest import Answers, Signature
from pnol_jax.servable.program import KEYED, Arrays, case_keys, flatten_operands

SEED = 0


@dataclass(frozen=True)
class Vector:
    """One case: inputs (*space, input channels) on a grid, and arrays (*space, output channels) or figures () by name.

    Draws and states, (num_samples, *space, output channels), are those of the smallest bucket: a draw depends on the
    padded shape. What programs take besides is made of these by `beside`.
    """

    inputs: NDArray[np.float32]
    grid: Grid
    expected: dict[str, NDArray[np.float32]]


def pad(inputs: NDArray[np.float32], bucket: Sequence[int]) -> NDArray[np.float32]:
    """One case, (*space, channels) or (draws, *space, channels), with zeros up to the bucket."""
    lead = inputs.shape[: -1 - len(bucket)]
    padded = np.zeros((*lead, *bucket, inputs.shape[-1]), np.float32)
    padded[tuple(slice(n) for n in inputs.shape[:-1])] = inputs
    return padded


def smallest_bucket(buckets: Sequence[tuple[int, ...]], shape: Sequence[int]) -> tuple[int, ...]:
    """The bucket of the fewest points that a grid of this shape fits into.

    Raises:
        InputError: there is none.
    """
    fitting = [bucket for bucket in buckets if all(n <= size for n, size in zip(shape, bucket, strict=True))]
    if not fitting:
        sizes = ", ".join("x".join(map(str, bucket)) for bucket in buckets)
        raise InputError(f"grid: got {'x'.join(map(str, shape))} points, expected at most one of the buckets {sizes}")
    return min(fitting, key=lambda bucket: (math.prod(bucket), bucket))


def beside(
    inputs: NDArray[np.float32], expected: Arrays, answer: Answers, draws: int, bucket: Sequence[int]
) -> list[NDArray[Any]]:
    """What a program takes beside inputs (*space, channels) and operands in a replay, for a batch of 1, padded.

    The first step of draws that all begin at the inputs; the inputs as a tangent; the mean as a cotangent and as the
    weights of a functional, a square, in which nothing cancels.
    """
    mean = expected["mean"]
    fields = {
        "step": np.broadcast_to(inputs[..., : mean.shape[-1]], (draws, *mean.shape)),
        "jvp": inputs,
        "vjp": mean,
        "functional": mean,
    }
    keys = [case_keys(SEED, 1, 0 if answer == "step" else None)] if answer in KEYED else []
    return [*keys, *([pad(fields[answer], bucket)[None]] if answer in fields else [])]


def record(
    programs: Mapping[Answers, Callable[..., Arrays]],
    weights: Arrays,
    signature: Signature,
    buckets: Sequence[tuple[int, ...]],
    num_samples: int,
    case: tuple[NDArray[Any], Grid],
) -> Vector:
    """Ask the model itself of a case (*space, channels), on its own grid without padding, as training did."""
    inputs, grid = np.asarray(case[0], np.float32), case[1]
    if not signature.accepts(grid) or inputs.shape != (*grid.shape, len(signature.inputs)):
        raise InputError(
            f"tests: got inputs {inputs.shape} on a grid of {grid.shape} points, expected "
            f"(*space, {len(signature.inputs)}) on the axes of the signature"
        )
    bucket = smallest_bucket(buckets, grid.shape)
    bases = signature.bases()
    expected: dict[str, NDArray[np.float32]] = {}
    first: Answers = "moments"  # of which the others' cotangent is made
    for answer in (first, *(answer for answer in signature.answers if answer != first)):
        size = bucket if answer in KEYED else grid.shape
        added = beside(inputs, expected, answer, num_samples, size) if expected else []
        operands = _operands(make_operands(grid, bases, size))
        given = jax.jit(programs[answer])(weights, pad(inputs, size)[None], operands, *added)
        expected |= {name: crop(np.asarray(array)[0], grid.shape) for name, array in given.items()}
    return Vector(inputs, grid, expected)


def crop(array: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """The points of a grid of this shape from a padded case, (..., *bucket, channels); a figure, (), has none."""
    if not array.ndim:
        return array
    index: tuple[Any, ...] = (..., *(slice(n) for n in shape), slice(None))
    points: NDArray[Any] = array[index]
    return points


def encode_vector(vector: Vector) -> bytes:
    """The bytes of a vector's file (safetensors)."""
    arrays: dict[str, NDArray[Any]] = {"inputs": vector.inputs}
    arrays |= {f"coordinates.{i}": axis.points for i, axis in enumerate(vector.grid.axes)}
    arrays |= {f"expected.{name}": array for name, array in vector.expected.items()}
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def decode_vector(data: bytes, where: str, signature: Signature) -> Vector:
    """The vector in the bytes of a file.

    Raises:
        InputError: no safetensors, arrays missing, or inputs of another shape than the grid's.
    """
    try:
        arrays = load(data)
        grid = signature.grid([arrays[f"coordinates.{i}"] for i in range(len(signature.axes))])
        inputs, wanted = arrays["inputs"], (*grid.shape, len(signature.inputs))
        if inputs.shape != wanted:
            raise InputError(f"got inputs {inputs.shape}, expected {wanted}")
        _ = arrays["expected.mean"]
    except (SafetensorError, KeyError, InputError) as error:
        raise InputError(f"{where}: not a test vector: {error}") from None
    expected = {name.removeprefix("expected."): a for name, a in arrays.items() if name.startswith("expected.")}
    return Vector(inputs, grid, expected)


def deviation(got: NDArray[Any], expected: NDArray[Any], scale: float | None = None) -> float:
    """The largest difference, relative to the largest expected value, any shape; infinite at NaN, or of two shapes.

    `scale`: what it is relative to instead.
    """
    if got.shape != expected.shape:
        return float("inf")
    scale = scale or max(float(np.max(np.abs(expected))), float(np.finfo(np.float32).tiny))
    worst = float(np.max(np.abs(got - expected))) / scale
    return worst if np.isfinite(worst) else float("inf")


def _operands(operands: GridOperands) -> Arrays:
    return flatten_operands(stack_operands([operands]))
