import math

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pnol_jax.errors import InputError
from pnol_jax.optimizer_config import (
    AdamWConfig,
    ConstantConfig,
    CosineConfig,
    ExponentialConfig,
    OneCycleConfig,
    PlateauConfig,
    PolynomialConfig,
    RestartsConfig,
    ScheduleFreeAdamWConfig,
    StepConfig,
)
from pnol_jax.training.optimizers import schedule

RATE = 0.2


def _rates(*pieces, steps, warmup=0, final_ratio=0.1):
    config = AdamWConfig(learning_rate=RATE, warmup_steps=warmup, final_ratio=final_ratio, schedule=list(pieces))
    rate = schedule(config, steps)
    return np.array([rate(jnp.asarray(step)) for step in range(steps + 1)])


@pytest.mark.parametrize("steps", [1, 7, 150, 1000])
def test_without_pieces_it_is_the_warm_up_and_cosine_that_it_always_was_bit_for_bit(steps):
    config = AdamWConfig(learning_rate=8e-3, final_ratio=1e-2, warmup_steps=60)
    warmup = min(60, steps // 2)
    before = optax.warmup_cosine_decay_schedule(0.0, 8e-3, warmup, max(steps, warmup + 1), 8e-3 * 1e-2)
    now = schedule(config, steps)
    assert [float(now(step)) for step in range(steps + 2)] == [float(before(step)) for step in range(steps + 2)]


def test_the_warm_up_is_linear_from_zero_to_where_the_first_piece_begins(x64):
    rates = _rates(ConstantConfig(start_ratio=0.5), steps=20, warmup=8)
    np.testing.assert_allclose(rates[:9], np.linspace(0, 0.5 * RATE, 9))
    np.testing.assert_allclose(rates[8:], 0.5 * RATE)


def test_the_warm_up_takes_at_most_half_of_the_run(x64):
    rates = _rates(ConstantConfig(), steps=20, warmup=100)
    np.testing.assert_allclose(rates[[0, 5, 10, 20]], [0, RATE / 2, RATE, RATE])


def test_cosine(x64):
    t = np.arange(41) / 40
    np.testing.assert_allclose(_rates(CosineConfig(), steps=40), RATE * (0.1 + 0.9 * (1 + np.cos(np.pi * t)) / 2))


@pytest.mark.parametrize("power", [1.0, 2.0, 0.5])
def test_polynomial(x64, power):
    t = np.arange(41) / 40
    rates = _rates(PolynomialConfig(power=power, final_ratio=0.0), steps=40)
    np.testing.assert_allclose(rates, RATE * (1 - t) ** power)


def test_exponential(x64):
    t = np.arange(41) / 40
    np.testing.assert_allclose(_rates(ExponentialConfig(), steps=40), RATE * 0.1**t)


def test_step(x64):
    rates = _rates(StepConfig(at=[10, 25], factor=0.5), steps=40)
    np.testing.assert_allclose(rates, [RATE] * 10 + [RATE / 2] * 15 + [RATE / 4] * 16)


def test_one_cycle(x64):
    rates = _rates(OneCycleConfig(rise=0.25), steps=40)
    np.testing.assert_allclose(rates[[0, 5, 10, 25, 40]], RATE * np.array([0.04, 0.52, 1, 0.500002, 4e-6]))
    assert np.argmax(rates) == 10


def test_restarts_begin_at_their_peak_and_end_at_the_final_rate(x64):
    rates = _rates(RestartsConfig(cycles=3, growth=2.0, peak=0.5), steps=70)  # of 10, 20 and 40 steps
    np.testing.assert_allclose(rates[[0, 10, 30]], RATE * np.array([1, 0.5, 0.25]))
    np.testing.assert_allclose(rates[[5, 20, 50]], RATE * (np.array([1, 0.5, 0.25]) + 0.1) / 2)
    assert rates[70] == pytest.approx(0.1 * RATE)
    ends = rates[[9, 29, 69]] / RATE - 0.1
    expected = [
        (peak - 0.1) * (1 + math.cos(math.pi * (1 - 1 / n))) / 2 for peak, n in ((1, 10), (0.5, 20), (0.25, 40))
    ]
    np.testing.assert_allclose(ends, expected, rtol=1e-10)


def test_pieces_follow_each_other_without_a_jump(x64):
    rates = _rates(
        ConstantConfig(steps=10),
        ExponentialConfig(steps=20, final_ratio=0.25),
        StepConfig(steps=10, at=[5], factor=0.5),
        PolynomialConfig(final_ratio=0.0),
        steps=60,
        warmup=10,
    )
    knots = {0: 0, 5: 0.5, 10: 1, 20: 1, 30: 0.5, 40: 0.25, 45: 0.125, 50: 0.125, 55: 0.0625, 60: 0}
    np.testing.assert_allclose(rates[list(knots)], RATE * np.array(list(knots.values())), atol=1e-15)


def test_a_plateau_is_constant_but_for_what_the_optimiser_takes_off(x64):
    rates = _rates(CosineConfig(steps=10, final_ratio=0.5), PlateauConfig(), steps=30)
    np.testing.assert_allclose(rates[10:], RATE / 2)


def test_a_schedule_free_optimiser_stays_at_its_rate_after_the_warm_up():
    rate = schedule(ScheduleFreeAdamWConfig(learning_rate=RATE, warmup_steps=10), 100)
    assert [float(rate(step)) for step in (0, 10, 99)] == pytest.approx([0, RATE, RATE])


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (
            [ConstantConfig(steps=50)],
            "got pieces of 50 after 10 of warm-up steps, expected 100 (training.steps) in all",
        ),
        ([ConstantConfig(steps=90), CosineConfig()], "got pieces of 90 + ? after 10 of warm-up steps, expected 100"),
        ([ConstantConfig(), CosineConfig()], "got pieces of ? + ? after 10 of warm-up steps, expected at most one"),
        ([PlateauConfig(), CosineConfig(steps=5)], "schedule[0]: got a plateau before other pieces"),
        ([StepConfig(at=[20, 95])], "schedule[0].at: got step 95, expected steps within the piece's 90"),
        ([CosineConfig(steps=80), StepConfig(at=[10])], "schedule[1].at: got step 10, expected steps within the"),
        ([ExponentialConfig(final_ratio=0.0)], "schedule[0].final_ratio: got 0, expected a positive number"),
        ([OneCycleConfig(final_ratio=0.0)], "schedule[0].final_ratio: got 0, expected a positive number"),
        ([CosineConfig(steps=88), OneCycleConfig()], "schedule[1].rise: got 0.3 of 2 steps, expected a step at least"),
        ([RestartsConfig(cycles=100)], "schedule[0].cycles: got 100 in 90 steps"),
        (
            [CosineConfig(steps=80), PlateauConfig(final_ratio=0.5)],
            "schedule[1].final_ratio: got 0.5, expected at most",
        ),
        ([CosineConfig(final_ratio=0.0, steps=9), CosineConfig()], "schedule[1].start_ratio: got 0"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused(pieces, message):
    with pytest.raises(InputError) as refused:
        schedule(AdamWConfig(warmup_steps=10, schedule=pieces), 100)
    assert message in str(refused.value)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_learning_rate_that_is_none_is_refused(rate):
    with pytest.raises(InputError, match=r"optimizer\.learning_rate: got .*, expected a positive number"):
        schedule(AdamWConfig(learning_rate=rate), 100)
