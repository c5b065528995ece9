"""float16: the loss is scaled so that its gradient neither vanishes nor overflows, by itself and without harm."""

import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax.training import scaling
from pnol_jax.training.loop import NotFinite
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.scaling import CEILING, FLOOR, PATIENCE, LossScale
from pnol_jax.training.step import initial_state, make_step
from tests.loop import Batches, Line, config, run, same


class HalfLine(Line):
    """The line, its product and the gradient of it in float16; the loss times `size`."""

    def __init__(self, size: float = 1.0) -> None:
        self.size = size

    def loss(self, params: Any, batch: Any, grid: Any, key: jax.Array) -> Any:
        slope, inputs = params["operator.slope"].astype(jnp.float16), jnp.asarray(batch.inputs, jnp.float16)
        error = self.size * jnp.mean(((slope * inputs).astype(jnp.float32) - batch.outputs) ** 2)
        return error, {"error": error}


def half(folder: Path, batches: Batches, **training: Any) -> Any:
    return run(folder, batches, precision="float16", **{"posterior": HalfLine()} | training)


def faults(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "faults.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_gradient_that_would_vanish_is_that_of_float32(accumulate):
    optimizer, batch, norms = make_optimizer(config().optimizer, 60, None), next(Batches()), {}
    for scaled in (False, True):
        state = initial_state(HalfLine(1e-7), optimizer, 0, averaged=False, scaled=scaled)  # type: ignore[arg-type]
        step = make_step(HalfLine(1e-7), optimizer, 0.0, accumulate)  # type: ignore[arg-type]
        state, metrics = step(state, {}, batch, Grid())  # type: ignore[arg-type]
        norms[scaled] = float(metrics["gradient_norm"])
    exact = 1e-7 * 2 * np.mean(batch.inputs * batch.outputs)
    assert norms[True] == pytest.approx(exact, rel=2e-3)
    assert abs(norms[False] - exact) > 0.1 * exact
    assert float(metrics["loss"]) == pytest.approx(1e-7 * np.mean(batch.outputs**2))


class Grid:
    """Operands that are shared, of which nothing is asked."""

    batched = False


jax.tree_util.register_pytree_node(Grid, lambda _: ((), None), lambda *_: Grid())


def test_steps_that_overflow_lower_the_scale_and_do_nothing_else(run_dir, monkeypatch):
    monkeypatch.setattr(scaling, "FIRST", 2.0**22)
    state = half(run_dir, Batches(), steps=20, max_bad_steps=0, rollbacks=0)
    lost = len(faults(run_dir))
    assert 2 <= lost < 10
    assert [(fault["step"], fault["fault"]) for fault in faults(run_dir)] == [(n + 1, "skipped") for n in range(lost)]
    assert float(state.scaling.scale) == 2.0 ** (22 - lost)
    assert int(state.scaling.steps) == 20 - lost
    assert "float16 overflows with the loss times 4.1943e+06" in faults(run_dir)[0]["said"]
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["loss_scale"] == 2.0 ** (22 - lost)
    late = Batches()
    late.next = lost
    monkeypatch.setattr(scaling, "FIRST", 2.0 ** (22 - lost))
    alone = half(run_dir.with_name("alone"), late, steps=20 - lost)
    np.testing.assert_array_equal(state.params["operator.slope"], alone.params["operator.slope"])


def test_a_resumed_run_has_the_scale_of_the_unbroken_one(run_dir, monkeypatch):
    monkeypatch.setattr(scaling, "FIRST", 2.0**22)
    whole = half(run_dir, Batches(), steps=25)
    other = run_dir.with_name("other")
    half(other, Batches(), steps=15)
    assert same(half(other, Batches(), steps=25, resume=True), whole)


class KinkedLine(HalfLine):
    """No scale helps its gradient."""

    def loss(self, params: Any, batch: Any, grid: Any, key: jax.Array) -> Any:
        error, metrics = super().loss(params, batch, grid, key)
        return error + jnp.sqrt(0 * params["operator.slope"][0]), metrics


def test_at_the_floor_of_the_scale_an_overflow_is_a_bad_step(run_dir):
    falls = round(math.log2(scaling.FIRST / FLOOR))
    with pytest.raises(NotFinite, match=f"step {falls + 3}: gradient of operator.slope is not finite"):
        half(run_dir, Batches(), posterior=KinkedLine(), max_bad_steps=2, rollbacks=0)


def test_a_loss_that_is_not_finite_is_a_bad_step_at_once_and_not_the_scales_fault(run_dir, monkeypatch):
    monkeypatch.setattr(scaling, "FIRST", 2.0**8)
    with pytest.raises(NotFinite, match=r"step 8: batch\.outputs is not finite"):
        half(run_dir, Batches(bad=range(5, 999)), max_bad_steps=2, rollbacks=0)
    assert float(half(run_dir.with_name("other"), Batches(bad=[5]), steps=9).scaling.scale) == 2.0**8


def test_the_scale_grows_with_patience_up_to_its_ceiling_and_never_falls_below_its_floor():
    start = LossScale(jnp.float32(CEILING / 2), jnp.int32(0))

    def walk(scale: LossScale, overflow: jax.Array) -> tuple[LossScale, jax.Array]:
        return scale.after(overflow), scale.scale

    _, good = jax.lax.scan(walk, start, jnp.zeros(3 * PATIENCE, bool))
    assert [float(good[n * PATIENCE]) for n in (0, 1, 2)] == [CEILING / 2, CEILING, CEILING]
    assert float(good[PATIENCE - 1]) == CEILING / 2
    last, _ = jax.lax.scan(walk, start, jnp.ones(60, bool))
    assert float(last.scale) == FLOOR
    once = jnp.arange(2 * PATIENCE) == PATIENCE // 2
    _, broken = jax.lax.scan(walk, start, once)  # an overflow starts the count again
    assert float(broken[PATIENCE]) == CEILING / 4
    assert float(broken[PATIENCE + PATIENCE // 2 + 1]) == CEILING / 2
