import functools
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pnol_jax.errors import InputError
from pnol_jax.optimizer_config import (
    AdamWConfig,
    CustomConfig,
    LAMBConfig,
    MuonConfig,
    Optimizer,
    PlateauConfig,
    ScheduleFreeSGDConfig,
    SGDConfig,
)
from pnol_jax.training.checkpoints import Checkpoints
from pnol_jax.training.optimizers import evaluation_params, learning_rate, make_optimizer, schedule
from pnol_jax.training.optimizers.table import OPTIMIZERS
from pnol_jax.training.step import TrainState
from tests.quadratic import AS_IN_A_RUN, CONFIGS, STEPS, loss, make_run, run_of, start

EACH = pytest.mark.parametrize("name", CONFIGS)


def _same_bits(left, right) -> bool:
    return jax.tree.structure(left) == jax.tree.structure(right) and all(
        jax.tree.leaves(jax.tree.map(np.array_equal, left, right))
    )


def test_every_optimiser_of_the_schema_is_in_the_table_and_is_tested():
    assert set(OPTIMIZERS) == set(get_args(Optimizer)) == {type(config) for config in CONFIGS.values()}


@EACH
def test_it_finds_the_minimum_of_a_quadratic(name):
    target = start(1)
    params, state = run_of(name).descend(start(0), target, STEPS)
    found = evaluation_params(CONFIGS[name], state, params)
    assert loss(found, target) < 1e-6 * loss(start(0), target)


def test_the_default_is_adamw_with_warm_up_cosine_decay_and_clipping_bit_for_bit():
    config, steps = AdamWConfig(weight_decay=3e-3), 150
    rate = optax.warmup_cosine_decay_schedule(0.0, 1e-3, 75, 150, 1e-3 * 1e-2)
    plain = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=3e-3))
    params, target = start(0), start(1)
    state = plain.init(params)

    @functools.partial(jax.jit, compiler_options=AS_IN_A_RUN)
    def step(params, state):
        updates, state = plain.update(jax.grad(loss)(params, target), state, params)
        return jax.tree.map(jnp.add, params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    assert _same_bits(make_run(config, steps).descend(start(0), target, steps)[0], params)


def _stacked(*trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@EACH
def test_members_are_trained_as_they_would_be_alone(name, x64):
    starts, targets = [start(0), start(1)], [start(10), start(11)]
    together, state = run_of(name, members=2).descend(_stacked(*starts), _stacked(*targets), 40)
    evaluated = evaluation_params(CONFIGS[name], state, together)
    for member in range(2):
        alone, its_state = run_of(name).descend(starts[member], targets[member], 40)
        its_evaluated = evaluation_params(CONFIGS[name], its_state, alone)
        for key in alone:
            np.testing.assert_allclose(together[key][member], alone[key], rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(evaluated[key][member], its_evaluated[key], rtol=1e-8, atol=1e-10)


@EACH
def test_no_member_sees_another_bit_for_bit(name, x64):
    starts, target = _stacked(start(0), start(1)), start(10)
    run = run_of(name, members=2)
    near_by, _ = run.descend(starts, _stacked(target, start(11)), 20)
    far_off, _ = run.descend(starts, _stacked(target, jax.tree.map(lambda leaf: -100 * leaf, start(11))), 20)
    assert all(np.array_equal(near_by[key][0], far_off[key][0]) for key in near_by)
    assert not any(np.array_equal(near_by[key][1], far_off[key][1]) for key in near_by)


@EACH
def test_a_run_that_is_saved_and_restored_goes_on_bit_for_bit(name, run_dir):
    optimizer, step = run_of(name)
    target = start(1)
    params, state = run_of(name).descend(start(0), target, 20)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    checkpoints = Checkpoints(run_dir, keep=1, config_digest="a")
    checkpoints.save(TrainState(jnp.asarray(20), params, state, {}, jax.random.key(0)), {})
    checkpoints.close()
    empty = TrainState(jnp.asarray(0), start(3), optimizer.init(start(3)), {}, jax.random.key(1))
    restored, _ = Checkpoints(run_dir, keep=1, config_digest="a").restore(empty)
    assert _same_bits((restored.params, restored.optimizer), (params, state))
    again, its_state = restored.params, restored.optimizer
    for _ in range(20):
        params, state = step(params, state, target)
        again, its_state = step(again, its_state, target)
    assert _same_bits(again, params)


def _one_update(config, params, gradient, steps=10, **extra):
    optimizer = make_optimizer(config, steps, None)
    return optimizer.update(gradient, optimizer.init(params), params, **extra)[0]


def test_muon_orthogonalises_the_matrix_of_every_mode_and_steps_as_far_as_adamw():
    config = MuonConfig(learning_rate=1.0, warmup_steps=0, weight_decay=0.0, clip_norm=0.0, ns_steps=20, matrices="all")
    gradient = start(0)
    updates = _one_update(config, start(1), gradient)
    for name, (rows, columns) in {
        "operator.blocks.0.spectral.kernel": (8, 16),
        "operator.blocks.0.mlp.first.kernel": (8, 4),
    }.items():
        # A singular value after Newton-Schulz with Jordan's coefficients lies between 0.65 and 1.25, not at 1; the
        # scaling makes the root mean square of the entries 0.2 where it is 1.
        matrices = np.asarray(updates[name]).reshape(-1, rows, columns) / (0.2 * max(rows, columns) ** 0.5)
        values = np.linalg.svd(matrices, compute_uv=False)
        assert values.min() > 0.65
        assert values.max() < 1.25
        left, _, right = np.linalg.svd(np.asarray(gradient[name]).reshape(-1, rows, columns), full_matrices=False)
        turned = np.swapaxes(left, -1, -2) @ -matrices @ np.swapaxes(right, -1, -2)
        np.testing.assert_allclose(turned, values[..., None] * np.eye(min(rows, columns)), atol=0.6)
        assert np.abs(turned - turned * np.eye(min(rows, columns))).max() < 1e-3


def test_muon_leaves_vectors_and_the_ends_of_an_operator_to_adamw():
    common = {"learning_rate": 1.0, "warmup_steps": 0, "weight_decay": 0.0, "clip_norm": 0.0}
    updates = _one_update(MuonConfig(**common), start(1), start(0))
    adamw = _one_update(AdamWConfig(nesterov=True, **common), start(1), start(0))
    same = {name for name in updates if np.allclose(updates[name], adamw[name], rtol=1e-5)}
    assert same == updates.keys() - {"operator.blocks.0.spectral.kernel", "operator.blocks.0.mlp.first.kernel"}


def test_a_shift_of_the_fields_turns_muons_step_as_it_turns_the_gradient():
    # A shift multiplies a mode's outputs by exp(i phase): the gradient of its complex kernel, and so the step.
    config = MuonConfig(learning_rate=1.0, warmup_steps=0, weight_decay=0.0, clip_norm=0.0)
    name, phase = "operator.blocks.0.spectral.kernel", 0.7

    def turned(kernel):
        value = (np.asarray(kernel)[..., 0, :] + 1j * np.asarray(kernel)[..., 1, :]) * np.exp(1j * phase)
        return np.stack([value.real, value.imag], axis=-2).astype(np.float32)

    gradient = start(0)
    plain = _one_update(config, start(1), gradient)[name]
    shifted = _one_update(config, start(1), gradient | {name: jnp.asarray(turned(gradient[name]))})[name]
    np.testing.assert_allclose(shifted, turned(plain), rtol=1e-3, atol=1e-4)


def test_adafactor_keeps_rows_and_columns_in_place_of_the_second_moments_of_a_wide_array():
    params = {"operator.wide.kernel": jnp.ones((48, 64)), "operator.narrow.kernel": jnp.ones((48, 8))}
    state = make_optimizer(CONFIGS["adafactor"], 10, None).init(params)
    whole = make_optimizer(AdamWConfig(), 10, None).init(params)
    held, of_adamw = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (state, whole))
    assert held < 48 + 64 + 48 + 8 + 20 < of_adamw


def test_schedule_free_gradient_descent_evaluates_the_mean_of_its_iterates(x64):
    config = ScheduleFreeSGDConfig(learning_rate=0.1, warmup_steps=0, weight_decay=0.0, clip_norm=0.0)
    optimizer = make_optimizer(config, 5, None)
    params = {"w": jnp.asarray([1.0, 2.0])}
    state, z, x = optimizer.init(params), np.array([1.0, 2.0]), np.array([1.0, 2.0])
    for step in range(1, 6):
        y = 0.1 * z + 0.9 * x
        np.testing.assert_allclose(params["w"], y, rtol=1e-12)
        updates, state = optimizer.update(params, state, params)  # of 0.5 |w|^2
        params = optax.apply_updates(params, updates)
        z = z - 0.1 * y
        x = x + (z - x) / step
    np.testing.assert_allclose(evaluation_params(config, state, params)["w"], x, rtol=1e-12)


def test_a_plateau_takes_the_rate_down_where_the_loss_stays_and_the_log_can_read_it(x64):
    piece = PlateauConfig(factor=0.5, window=2, patience=3, final_ratio=0.2)
    config = SGDConfig(
        learning_rate=1.0, momentum=0.0, weight_decay=0.0, warmup_steps=2, clip_norm=0.0, schedule=[piece]
    )
    optimizer, rate = make_optimizer(config, 40, None), schedule(config, 40)
    params = {"w": jnp.zeros(1)}
    state = optimizer.init(params)
    used, logged = [], []
    for step in range(40):
        # Falls for ten steps, then stays at a negative loss, as a likelihood has.
        updates, state = optimizer.update({"w": jnp.ones(1)}, state, params, value=jnp.asarray(-float(min(step, 10))))
        used.append(-float(updates["w"][0]))
        logged.append(learning_rate(rate, state, step))
    # After two steps of warm-up come windows of two; that of steps 10 and 11 has the best mean. Three windows without
    # a better one end at step 17; then every three; not below 0.2.
    expected = [0.0, 0.5] + [1.0] * 15 + [0.5] * 6 + [0.25] * 6 + [0.2] * 11
    np.testing.assert_allclose(used, expected, rtol=1e-12)
    np.testing.assert_allclose(logged, expected, rtol=1e-6)


def test_each_member_has_a_plateau_of_its_own():
    piece = PlateauConfig(factor=0.5, window=1, patience=2, final_ratio=0.1)
    config = SGDConfig(
        learning_rate=1.0, momentum=0.0, weight_decay=0.0, warmup_steps=0, clip_norm=0.0, schedule=[piece]
    )
    optimizer = make_optimizer(config, 6, 2)
    params = {"w": jnp.zeros((2, 1))}
    state = optimizer.init(params)
    for step in range(3):
        value = jnp.asarray([1.0, -float(step)])
        updates, state = optimizer.update({"w": jnp.ones((2, 1))}, state, params, value=value)
    np.testing.assert_allclose(updates["w"][:, 0], [-0.5, -1.0])
    assert learning_rate(schedule(config, 6), state, 3) == pytest.approx(0.75)


def test_lamb_takes_a_step_whose_length_is_a_share_of_the_arrays_norm():
    config = LAMBConfig(learning_rate=0.01, warmup_steps=0, weight_decay=0.0)
    params = start(0)
    for name, update in _one_update(config, params, start(1)).items():
        assert float(jnp.linalg.norm(update)) == pytest.approx(0.01 * float(jnp.linalg.norm(params[name])), rel=1e-5)


def half_rate(learning_rate, momentum):
    """An optimiser of one's own."""
    return optax.sgd(lambda step: 0.5 * learning_rate(step), momentum)


def no_optimiser(learning_rate):
    return "nothing"


def test_an_optimiser_of_ones_own_gets_the_schedule_and_its_options():
    mine = CustomConfig(path="tests.pnol_jax.test_optimizers:half_rate", learning_rate=0.2, options={"momentum": 0.5})
    ours = SGDConfig(learning_rate=0.1, momentum=0.5, weight_decay=0.0)
    left, right = (make_run(config, 20).descend(start(0), start(1), 20)[0] for config in (mine, ours))
    for name, value in left.items():
        np.testing.assert_allclose(value, right[name], rtol=1e-6)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("optax.adam", {}, "got 'optax.adam', expected 'package.module:function'"),
        ("optax:adamant", {}, "got 'optax:adamant', which cannot be imported"),
        ("optac:adam", {}, "got 'optac:adam', which cannot be imported: No module named 'optac'"),
        ("optax:__name__", {}, "is a str, expected a function"),
        ("optax:adam", {"b3": 1}, "optimizer.options: optax:adam refused {'b3': 1}"),
        ("tests.pnol_jax.test_optimizers:no_optimiser", {}, "returned a str, expected an optax.GradientTransformation"),
    ],
)
def test_a_custom_optimiser_that_is_none_is_refused(path, options, message):
    with pytest.raises(InputError) as refused:
        make_optimizer(CustomConfig(path=path, options=options), 10, None)
    assert message in str(refused.value)
