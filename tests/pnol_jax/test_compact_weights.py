"""Weights in fewer bits: off by half a step at most, restored by the program to the bit, kept by the file."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save

from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.servable import (
    SCALE,
    Servable,
    decode_weights,
    encode_weights,
    flatten_operands,
    load_servable,
    quantise,
    restore,
)
from tests import heat

SHARED = (2, 3)
ROUNDING = 1 + 2**-22  # of the quotient and the product, two roundings of float32


@pytest.fixture(name="kernel")
def _kernel() -> Any:
    """Of the form of a spectral one, (modes, modes, in, 2, out), with scales that differ by powers of ten."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.integers(-4, 4, (3, 4, 1, 1, 5))
    return (sizes * rng.standard_normal((3, 4, 6, 2, 5))).astype(np.float32)


def test_no_weight_is_off_by_more_than_half_a_step_of_its_own_mode_and_channel(kernel: Any) -> None:
    whole, scale = quantise(kernel, SHARED)
    assert (whole.dtype, scale.shape) == (np.int8, (3, 4, 1, 1, 5))
    np.testing.assert_allclose(scale, np.abs(kernel).max(axis=SHARED, keepdims=True) / 127, rtol=1e-6)
    off = np.abs(kernel.astype(np.float64) - whole * scale.astype(np.float64))
    assert np.all(off <= ROUNDING * scale / 2)
    assert np.all(np.abs(whole).max(axis=SHARED) == 127)


def test_it_is_symmetric_and_zeros_stay_zeros(kernel: Any) -> None:
    kernel[0, 0, ..., 0] = 0
    (whole, scale), (negative, same) = quantise(kernel, SHARED), quantise(-kernel, SHARED)
    assert np.array_equal(whole, -negative)
    assert np.array_equal(scale, same)
    assert not whole[0, 0, ..., 0].any()
    assert scale[0, 0, 0, 0, 0] == 1


def test_a_product_is_off_by_no_more_than_half_a_step_of_every_weight_that_it_sees() -> None:
    rng = np.random.default_rng(1)
    rows, kernel = rng.standard_normal((50, 32)), rng.standard_normal((32, 8)).astype(np.float32)
    whole, scale = quantise(kernel, (0,))
    off = np.abs(rows @ kernel.astype(np.float64) - rows @ (whole * scale.astype(np.float64)))
    assert np.all(off <= ROUNDING * np.abs(rows).sum(axis=1, keepdims=True) * scale / 2)
    assert off.max() > scale.max() / 2  # the bound is not one that anything would keep


def test_a_program_restores_what_is_stored_to_the_bit(kernel: Any) -> None:
    whole, scale = quantise(kernel, SHARED)
    half = jnp.asarray(kernel, jnp.bfloat16)
    count = np.arange(3, dtype=np.int32)
    stored = {"a": whole, SCALE + "a": scale, "b": half, "c": kernel, "d": count}
    found = jax.jit(restore)(stored)
    assert found.keys() == {"a", "b", "c", "d"}
    assert np.array_equal(found["a"], whole.astype(np.float32) * scale)
    assert np.array_equal(found["b"], np.asarray(half, np.float32))
    assert found["b"].dtype == np.float32
    assert np.array_equal(found["c"], kernel)
    assert found["d"].dtype == count.dtype


def test_a_file_keeps_every_type_that_weights_have(kernel: Any) -> None:
    stored = {
        "whole": quantise(kernel, SHARED)[0],
        "half": np.asarray(jnp.asarray(kernel, jnp.bfloat16)),
        "single": kernel,
        "flag": np.array([True, False]),
        "number": np.float32([2]),
    }
    found = decode_weights(encode_weights(stored), "w")
    for name, value in stored.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == np.shape(value)
        assert np.array_equal(found[name], value)


def test_a_file_that_is_none_or_of_other_types_is_refused() -> None:
    with pytest.raises(InputError, match="w: "):
        decode_weights(b"nothing", "w")
    with pytest.raises(InputError, match="w: got x of C64, expected one of"):
        decode_weights(save({"x": np.ones(2, np.complex64)}), "w")


def write_whole(folder: Path) -> Servable:
    """The heat equation's decays in int8, two scales an axis."""
    weights: dict[str, Any] = dict(heat.weights(1))
    whole, scale = quantise(weights["decay.0"].reshape(2, -1), (1,))
    weights |= {"decay.0": whole, f"{SCALE}decay.0": scale}

    def predict(weights: Any, *arguments: Any, **keywords: Any) -> Any:
        restored = restore(weights)
        return heat.predict(restored | {"decay.0": restored["decay.0"].ravel()}, *arguments, **keywords)

    signature = heat.signature(1, ["moments"])
    return load_servable(heat.write(folder, axes=1, weights=weights, predict=predict, signature=signature))


def test_a_servable_of_int8_answers_on_cpu_and_cuda_within_its_steps(tmp_path: Path) -> None:
    servable = write_whole(tmp_path)
    assert servable.weights["decay.0"].dtype == np.int8
    assert all(set(program.platforms) == {"cpu", "cuda"} for program in servable.programs.values())
    inputs, solution = heat.wave(heat.grid(16), 2)
    operands = stack_operands([make_operands(heat.grid(16), servable.manifest.signature.bases())])
    answer = servable.compile((16,), "moments", 1)(inputs[None], flatten_operands(operands))
    step = float(np.max(servable.weights[f"{SCALE}decay.0"]))  # one wave: its decay is off by half of it
    np.testing.assert_allclose(answer["mean"][0], solution, atol=step / 2 * np.abs(inputs).max() + 1e-6)


def test_what_is_said_of_a_variant_is_in_the_manifest_and_a_refusal_writes_nothing(tmp_path: Path) -> None:
    seen: list[Servable] = []

    def about(servable: Servable) -> dict[str, Any]:
        seen.append(servable)
        assert not any(tmp_path.iterdir())
        return {"what": ["int8"]}

    def refuse(_: Servable) -> dict[str, Any]:
        raise InputError("it loses too much")

    one = {"axes": 1, "signature": heat.signature(1, ["moments"])}
    with pytest.raises(InputError, match="it loses too much"):
        heat.write(tmp_path, optimised=refuse, **one)
    found = load_servable(heat.write(tmp_path, optimised=about, **one))
    assert found.manifest.optimised == {"what": ["int8"]}
    assert seen[0].manifest.files == found.manifest.files
