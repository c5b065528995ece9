"""Programs as files: lowered and serialised for every platform, read back and checked before anything runs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax import export

from pnol_jax.errors import InputError
from pnol_jax.servable.manifest import Answers, Signature
from pnol_jax.servable.program import BAND, MEAN_AND_STD, MOMENTS, QUANTILES, Arrays, argument_shapes
from pnol_jax.servable.stablehlo import check_module, strip_locations

PLATFORMS = ("cpu", "cuda")


def export_program(
    program: Callable[..., Arrays],
    signature: Signature,
    weights: Mapping[str, Any],
    bucket: tuple[int, ...],
    answer: Answers,
    draws: int,
) -> bytes:
    """Lower a program for every platform, with a symbolic batch, and serialise it (StableHLO, portable)."""
    (batch,) = export.symbolic_shape("batch")
    arguments = argument_shapes(signature, weights, bucket, answer, batch, draws)
    exported = export.export(jax.jit(program), platforms=PLATFORMS)(*arguments)
    stripped = dataclasses.replace(exported, mlir_module_serialized=strip_locations(exported.mlir_module_serialized))
    return bytes(stripped.serialize())


def read_program(
    data: bytes,
    where: str,
    signature: Signature,
    weights: Mapping[str, Any],
    bucket: tuple[int, ...],
    answer: Answers,
    draws: int,
) -> export.Exported:
    """Read a serialised program and check it: operations, platforms, arguments, answers.

    Raises:
        InputError: the bytes are no program, it does what a servable may not, or it is not of this signature.
    """
    try:
        exported = export.deserialize(bytearray(data))
    except Exception as error:  # a parser of foreign bytes fails in any way it likes
        raise InputError(f"{where}: not an exported program: {type(error).__name__}: {str(error)[:200]}") from None
    check_module(exported.mlir_module_serialized, where)
    backend = jax.default_backend().replace("gpu", "cuda")
    if backend not in exported.platforms:
        raise InputError(f"{where}: lowered for {exported.platforms}, this machine runs {backend!r}")
    _check_arguments(exported, where, argument_shapes(signature, weights, bucket, answer, -1, draws))
    _check_results(exported, where, bucket, signature, answer)
    return exported


def _check_arguments(exported: export.Exported, where: str, expected: tuple[Any, ...]) -> None:
    if exported.nr_devices != 1 or exported.in_tree != _structure((expected, {})):
        raise InputError(f"{where}: its arguments are not those of the manifest: {str(exported.in_tree)[:200]}")
    for got, leaf in zip(exported.in_avals, jax.tree.leaves(expected), strict=True):
        if got.dtype != leaf.dtype or not _fits(got.shape, leaf.shape):
            raise InputError(f"{where}: an argument is {got}, expected {leaf.dtype}{leaf.shape}, -1 for the batch")


def _structure(tree: Any) -> Any:
    return jax.tree.structure(tree)


def _fits(got: tuple[Any, ...], expected: tuple[int, ...]) -> bool:
    """Whether shapes are the same, where -1 stands for a symbolic dimension."""
    pairs = zip(got, expected, strict=False)
    return len(got) == len(expected) and all(m == n or (n == -1 and not isinstance(m, int)) for m, n in pairs)


def _check_results(
    exported: export.Exported, where: str, bucket: tuple[int, ...], signature: Signature, answer: Answers
) -> None:
    figures = MEAN_AND_STD if answer == "functional" else signature.figures_of(answer)
    expected = [{*names, *figures} for names in _fields(signature, answer)]
    results = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    if not isinstance(results, dict) or set(results) not in expected:
        raise InputError(f"{where}: it gives {exported.out_tree}, expected {' or '.join(map(str, expected))}")
    for name, got in results.items():
        levels = (len(signature.levels),) if name == QUANTILES else ()
        channels = signature.inputs if name == "vjp" else signature.outputs
        tail = () if name in figures else (*levels, *bucket, len(channels))
        fits = got.shape[-len(tail) :] == tail if tail else got.ndim == 1
        if not fits or got.dtype != np.float32:
            raise InputError(f"{where}: {name} is {got}, expected float32 ending in {tail}")


def _fields(signature: Signature, answer: Answers) -> list[set[str]]:
    """The fields that a program may give: moments with or without a band."""
    if answer == "moments":
        stated = {QUANTILES} if signature.levels else set()
        return [{*MOMENTS, *stated}, {*MOMENTS, *BAND, *stated}]
    given: dict[Answers, set[str]] = {
        "samples": {"samples"},
        "functional": set(),
        "step": {"states", "states.mean", "states.std"},
    }
    return [given.get(answer, {"mean", answer})]
