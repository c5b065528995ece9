import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax.errors import InputError
from pnol_jax.optimizer_config import AdamWConfig, GroupConfig, LARSConfig, MuonConfig, SGDConfig
from pnol_jax.patterns import fits
from pnol_jax.training.optimizers import make_optimizer
from tests.quadratic import SHAPES, start

GATE, BIAS = "operator.blocks.0.mlp_skip.gate", "operator.lifting.bias"
KERNELS = {name for name in SHAPES if name.endswith("kernel")}


def _update(config, params, gradient, members=None):
    """The first update of a constant rate, and the state after it."""
    optimizer = make_optimizer(config, 1, members)
    return optimizer.update(gradient, optimizer.init(params), params)


def _sgd(**options):
    return SGDConfig(**{"learning_rate": 0.5, "momentum": 0.0, "clip_norm": 0.0, "weight_decay": 0.0} | options)


@pytest.mark.parametrize(
    ("mask", "decayed"),
    [
        ("all", set(SHAPES)),
        ("kernels", KERNELS),
        ("hidden", {name for name in KERNELS if ".blocks." in name}),
        (["operator.lifting.*"], {"operator.lifting.kernel", BIAS}),
        (["!*.bias", "!*.gate"], KERNELS),
        (["*", "!operator.blocks.*", GATE], set(SHAPES) - {n for n in SHAPES if ".blocks." in n} | {GATE}),
    ],
)
@pytest.mark.parametrize("members", [None, 2])
def test_what_a_mask_names_decays_and_nothing_else(x64, mask, decayed, members):
    params, gradient = start(0), start(1)
    if members:
        params, gradient = (jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), tree) for tree in (params, gradient))
    updates, _ = _update(_sgd(weight_decay=0.1, weight_decay_mask=mask), params, gradient, members)
    for name, update in updates.items():
        decay = 0.1 * params[name] if name in decayed else 0.0
        np.testing.assert_allclose(update, -0.5 * (gradient[name] + decay), rtol=1e-12)


def test_the_rate_of_a_group_is_a_factor_and_the_first_group_that_names_a_parameter_counts(x64):
    groups = [
        GroupConfig(parameters="operator.lifting.kernel", rate=0.1),
        GroupConfig(parameters=["operator.lifting.*", "*.gate"], rate=3.0),
    ]
    params, gradient = start(0), start(1)
    updates, _ = _update(_sgd(weight_decay=0.1, groups=groups), params, gradient)
    for name, update in updates.items():
        factor = {"operator.lifting.kernel": 0.1, BIAS: 3.0, GATE: 3.0}.get(name, 1.0)
        np.testing.assert_allclose(update, -0.5 * factor * (gradient[name] + 0.1 * params[name]), rtol=1e-12)


def test_frozen_parameters_stay_have_no_state_and_no_part_in_the_norm(x64):
    groups = [GroupConfig(parameters="operator.blocks.*", rate=0.0)]
    params, gradient = start(0), start(1)
    frozen = {name for name in params if ".blocks." in name}
    updates, _ = _update(_sgd(groups=groups, clip_norm=1.0), params, gradient)
    assert not any(np.any(updates[name]) for name in frozen)
    rest = [updates[name] / -0.5 for name in updates.keys() - frozen]
    assert sum(float(jnp.sum(part**2)) for part in rest) == pytest.approx(1.0)
    state = make_optimizer(AdamWConfig(groups=groups), 10, None).init(params)
    moving = sum(value.size for name, value in params.items() if name not in frozen)
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 2 * moving + 2  # moments, and two counts


def test_clipping_by_the_global_norm_is_each_members_own(x64):
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), start(0))
    gradient = jax.tree.map(lambda leaf: jnp.stack([leaf, 1e-3 * leaf]), start(1))
    updates, _ = _update(_sgd(clip_norm=0.5), params, gradient, members=2)
    norms = np.sqrt(sum(np.sum(np.square(u.reshape(2, -1)), axis=1) for u in jax.tree.leaves(updates)))
    whole = 1e-3 * np.sqrt(sum(float(jnp.sum(leaf**2)) for leaf in start(1).values()))
    np.testing.assert_allclose(norms / 0.5, [0.5, whole])


def test_adaptive_clipping_holds_the_gradient_of_each_unit_to_a_share_of_its_weights(x64):
    params, gradient = start(0), start(1)
    updates, _ = _update(_sgd(clip_adaptive=0.5), params, gradient)
    into_a_unit = {1: None, 2: 0, 5: (2, 3)}  # a vector is one unit; a kernel's are its outputs, at each mode
    clipped = 0
    for name, update in updates.items():
        axes = into_a_unit[update.ndim]
        size, weight = (np.sqrt(np.sum(np.square(a), axis=axes, keepdims=True)) for a in (gradient[name], params[name]))
        factor = np.minimum(1.0, 0.5 * weight / size)
        clipped += np.sum(factor < 1)
        np.testing.assert_allclose(update, -0.5 * factor * gradient[name], rtol=1e-9)
    assert clipped


def test_lars_takes_a_share_of_a_kernels_norm_and_the_gradient_of_a_vector(x64):
    config = LARSConfig(learning_rate=0.5, momentum=0.0, weight_decay=0.0, clip_norm=0.0, trust_coefficient=0.01)
    params, gradient = start(0), start(1)
    for name, update in _update(config, params, gradient)[0].items():
        ratio = 0.01 * jnp.linalg.norm(params[name]) / jnp.linalg.norm(gradient[name]) if name in KERNELS else 1.0
        np.testing.assert_allclose(update, -0.5 * ratio * gradient[name], rtol=1e-9)


@pytest.mark.parametrize(
    ("patterns", "name", "verdict"),
    [
        (["*.kernel"], "a.kernel", True),
        (["*.kernel"], "a.bias", False),
        (["!*.bias"], "a.kernel", True),
        (["!*.bias"], "a.bias", False),
        (["*", "!a.*", "a.b.*"], "a.b.kernel", True),
        (["*", "!a.*", "a.b.*"], "a.c.kernel", False),
        ([], "a", False),
    ],
)
def test_the_last_pattern_that_fits_decides(patterns, name, verdict):
    assert fits(name, patterns) is verdict


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (AdamWConfig(weight_decay_mask=["!*.bais"]), "optimizer.weight_decay_mask: '!*.bais' fits no parameter"),
        (MuonConfig(matrices=["operator.block.*"]), "optimizer.matrices: 'operator.block.*' fits no parameter"),
        (LARSConfig(trust_ratio_mask=["kernel"]), "optimizer.trust_ratio_mask: 'kernel' fits no parameter"),
        (
            AdamWConfig(groups=[GroupConfig(parameters="operator.lifing.*", rate=0.1)]),
            "optimizer.groups[0].parameters: 'operator.lifing.*' fits no parameter; there are operator.lifting.",
        ),
        (AdamWConfig(groups=[GroupConfig(parameters="*", rate=0.0)]), "got rate 0 for every parameter"),
    ],
)
@pytest.mark.parametrize("members", [None, 2])
def test_a_pattern_that_fits_nothing_is_refused(config, message, members):
    params = start(0) if members is None else jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), start(0))
    with pytest.raises(InputError) as refused:
        make_optimizer(config, 10, members).init(params)
    assert message in str(refused.value)
