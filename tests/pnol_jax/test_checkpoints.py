import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pnol_jax.errors import InputError
from pnol_jax.training.checkpoints import Checkpoints
from pnol_jax.training.step import TrainState

SIZE = 2_000_000  # large enough that writing outlasts the next step


def _state(step: int) -> TrainState:
    params = {"operator.w": jnp.full(SIZE, float(step))}
    optimizer = optax.adam(1.0).init(params)
    return TrainState(jnp.asarray(step, jnp.int32), params, optimizer, {}, jax.random.key(3))


def _equal(left, right) -> bool:
    plain = [jax.tree.map(_data, tree) for tree in (left, right)]
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, *plain)))


def _data(leaf):
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


def test_what_is_saved_is_the_state_at_that_step_though_the_next_one_reuses_its_memory(run_dir):
    step = jax.jit(lambda s: jax.tree.map(lambda x: x if x.dtype.kind not in "fi" else x + 1, s), donate_argnums=0)
    checkpoints = Checkpoints(run_dir, keep=9, config_digest="a")
    params = {"operator.w": jnp.zeros(SIZE)}
    for number in range(1, 5):
        params = step(params)
        state = TrainState(jnp.asarray(number, jnp.int32), params, (), {}, jax.random.key(3))
        checkpoints.save(state, {"batch": number})
        params = step(step(state.params))
    checkpoints.close()
    again = Checkpoints(run_dir, keep=9, config_digest="a")
    restored, position = again.restore(state)
    assert position == {"batch": 4}
    assert np.unique(restored.params["operator.w"]).tolist() == [10.0]  # 3 (number - 1) + 1


def test_restore_is_the_inverse_of_save(run_dir):
    checkpoints = Checkpoints(run_dir, keep=2, config_digest="a")
    state = _state(7)
    checkpoints.save(state, {"batch": 7})
    checkpoints.close()
    restored, _ = Checkpoints(run_dir, keep=2, config_digest="a").restore(_state(0))
    assert _equal(restored, state)


def test_a_checkpoint_of_another_config_is_refused(run_dir):
    checkpoints = Checkpoints(run_dir, keep=2, config_digest="a" * 64)
    checkpoints.save(_state(1), {})
    checkpoints.close()
    with pytest.raises(InputError, match=r"of another config .digest aaaaaaaaaaaa, this one bbbbbbbbbbbb"):
        Checkpoints(run_dir, keep=2, config_digest="b" * 64).restore(_state(0))


def test_resuming_from_nothing_is_refused(run_dir):
    with pytest.raises(InputError, match="no whole checkpoint"):
        Checkpoints(run_dir, keep=2, config_digest="a").restore(_state(0))
