"""Answers are made of exact products of float32, training of what the platform is fast at."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from pnol_jax.precision import exact, exact_from_here, fast
from pnol_jax.servable import load_servable
from tests import heat
from tests.loop import Batches, run

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


def test_the_user_may_ask_for_exact_training(monkeypatch: pytest.MonkeyPatch, run_dir: Path) -> None:
    seen = []

    class Seen(Batches):
        def __next__(self):  # type: ignore[no-untyped-def]
            seen.append(lowered())
            return super().__next__()

    for asked in ("default", "highest"):
        monkeypatch.setenv("JAX_DEFAULT_MATMUL_PRECISION", asked)
        run(run_dir.with_name(asked), Seen(), steps=1)
    assert seen == [{"DEFAULT"}, {"HIGHEST"}]
