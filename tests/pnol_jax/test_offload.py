"""The optimiser's state waits in the memory of the host, and nothing else is different."""

from types import SimpleNamespace

import jax
import pytest

from pnol_jax.errors import InputError
from pnol_jax.training.optimizers import make_optimizer
from pnol_jax.training.step import initial_state, make_step
from tests.loop import Batches, Line, config, run, same

HOST = "pinned_host"


def kinds(tree: object) -> dict[str, set[str]]:
    """The memories of arrays and of single numbers."""
    leaves = jax.tree.leaves(tree)
    return {
        "arrays": {leaf.sharding.memory_kind for leaf in leaves if leaf.ndim},
        "numbers": {leaf.sharding.memory_kind for leaf in leaves if not leaf.ndim},
    }


def test_a_run_resumed_and_rolled_back_stays_on_the_host_and_is_the_same_bit_for_bit(run_dir):
    device = jax.devices()[0].default_memory().kind
    here = run(run_dir, Batches(bad=[22, 23, 24]), steps=40)
    other = run_dir.with_name("other")
    run(other, Batches(bad=[22, 23, 24]), steps=30, offload="optimizer")
    away = run(other, Batches(bad=[22, 23, 24]), steps=40, offload="optimizer", resume=True)
    assert same(here, away)
    assert kinds(away.optimizer)["arrays"] == {HOST}
    assert kinds(away.optimizer)["numbers"] <= {device}
    assert kinds((away.params, away.average, away.key))["arrays"] == {device}


def test_the_state_is_given_up_and_the_step_is_compiled_once():
    optimizer = make_optimizer(config().optimizer, 60, None)
    state = initial_state(Line(), optimizer, 0, averaged=True, offload=True)  # type: ignore[arg-type]
    step, batches = make_step(Line(), optimizer, 0.9), Batches()  # type: ignore[arg-type]
    for _ in range(3):
        old, (state, _) = state, step(state, {}, next(batches), ())  # type: ignore[arg-type]
        assert all(leaf.is_deleted() for leaf in jax.tree.leaves((old.optimizer, old.params)) if leaf.ndim)
    (program,) = step._compiled.values()
    assert program._cache_size() == 1


def test_on_a_gpu_the_state_is_fetched_after_the_gradient_and_put_back():
    optimizer = make_optimizer(config().optimizer, 60, None)
    state = initial_state(Line(), optimizer, 0, averaged=False, offload=True)  # type: ignore[arg-type]
    arguments = (state, {}, next(Batches()), ())
    program = make_step(Line(), optimizer, 0.0)._jitted(arguments)  # type: ignore[arg-type]
    text = program.trace(*arguments).lower(lowering_platforms=("cuda",)).as_text()
    moves = [line for line in text.splitlines() if "annotate_device_placement" in line]
    assert [f'"{HOST}"' in line for line in moves] == [False, True]  # one array, the momentum
    head = next(line for line in text.splitlines() if "func public @main" in line)
    (momentum,) = (part for part in head.split("%arg") if HOST in part and "aliasing_output" in part)
    assert "tensor<1xf32>" in momentum


def test_a_device_that_reaches_no_memory_of_the_host_is_refused(monkeypatch):
    alone = SimpleNamespace(platform="abacus", addressable_memories=lambda: [SimpleNamespace(kind="device")])
    monkeypatch.setattr(jax, "local_devices", lambda: [alone])
    with pytest.raises(InputError, match=r"training\.offload: got 'optimizer', but programs on abacus reach no memory"):
        initial_state(Line(), make_optimizer(config().optimizer, 60, None), 0, averaged=False, offload=True)  # type: ignore[arg-type]
