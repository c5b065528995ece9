"""Answers are made of exact products of float32, training of what the platform is fast at."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

from pnol_jax.posteriors import Batch
from pnol_jax.precision import exact, exact_from_here, fast
from pnol_jax.servable import load_servable
from pnol_jax.training.step import initial_state, make_step
from tests import heat

PRODUCT = re.compile(r"stablehlo\.dot_general.*")


def products(text: str) -> set[str]:
    """The precisions of a program's matrix products."""
    found = (re.search(r"precision = \[(\w+), \w+\]", line) for line in PRODUCT.findall(text))
    return {"DEFAULT" if said is None else said.group(1) for said in found}


def lowered() -> set[str]:
    def product(matrix: jax.Array) -> jax.Array:
        return matrix @ matrix

    return products(jax.jit(product).lower(jnp.ones((2, 2))).as_text())


def test_programs_of_a_servable_multiply_exactly_on_every_platform(tmp_path: Path) -> None:
    with jax.default_matmul_precision("default"):
        servable = load_servable(heat.write(tmp_path))
    for program in servable.programs.values():
        assert products(program.mlir_module()) == {"HIGHEST"}


def test_a_process_is_exact_but_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAX_DEFAULT_MATMUL_PRECISION", raising=False)
    with jax.default_matmul_precision("default"), exact():
        assert lowered() == {"HIGHEST"}
    before = jax.config.jax_default_matmul_precision
    try:
        exact_from_here()
        assert lowered() == {"HIGHEST"}
        with fast():
            assert lowered() == {"DEFAULT"}
    finally:
        jax.config.update("jax_default_matmul_precision", before)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(("asked", "expected"), [(None, {"DEFAULT"}), ("highest", {"HIGHEST"})])
def test_a_training_step_is_fast_in_an_exact_process_unless_the_user_asks_otherwise(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, expected: set[str]
) -> None:
    if asked is None:
        monkeypatch.delenv("JAX_DEFAULT_MATMUL_PRECISION", raising=False)
    else:
        monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", asked)
    step = make_step(Matrix(), optax.sgd(0.1), 0.0)  # type: ignore[arg-type]
    state = initial_state(Matrix(), optax.sgd(0.1), 0, averaged=False)  # type: ignore[arg-type]
    fields = Batch(jnp.ones((3, 2)), jnp.ones((3, 2)))
    with exact():
        assert products(step.lower(state, {}, fields, ()).as_text()) == expected


class Matrix:
    """outputs = inputs times a matrix; a posterior as far as a step goes."""

    members = None
    axes: dict[str, Any] = {}  # noqa: RUF012

    def initial(self, seed: int) -> dict[str, jax.Array]:
        return {"operator.matrix": jnp.eye(2)}

    def loss(self, params: Any, batch: Batch, grid: Any, key: jax.Array) -> Any:
        return jnp.mean(jnp.square(batch.inputs @ params["operator.matrix"] - batch.outputs)), {}
