"""Simulators against closed forms: decay, growth, shocks; the same functions on every grid."""

import numpy as np
import pytest

from pnol_jax.data.simulators import SIMULATORS
from pnol_jax.data.simulators.random_fields import random_function
from pnol_jax.data.simulators.steppers import AdvectionDiffusion, Burgers, KuramotoSivashinsky
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis

SMALL = {"resolution": 64, "steps": 4, "modes": 8}


def test_a_wave_is_carried_along_and_decays_as_it_should() -> None:
    problem = AdvectionDiffusion(velocity=0.7, diffusivity=0.02, length=2.0, time_step=0.1, **SMALL)
    x = problem.axes(64)[0].points
    k = 2 * np.pi * 3 / 2.0
    states = problem.trajectory(np.sin(k * x))
    for step, state in enumerate(states):
        t = 0.1 * step
        exact = np.exp(-0.02 * k**2 * t) * np.sin(k * (x - 0.7 * t))
        np.testing.assert_allclose(state, exact, atol=1e-10)


def test_a_wave_in_two_dimensions_decays_by_both_wave_numbers() -> None:
    problem = AdvectionDiffusion(dimensions=2, velocity=0.5, diffusivity=0.01, time_step=0.1, **SMALL)
    x, y = np.meshgrid(*(axis.points for axis in problem.axes(64)), indexing="ij")
    k, m = 2 * np.pi * 2, 2 * np.pi * 3
    final = problem.trajectory(np.cos(k * x) * np.sin(m * y))[-1]
    exact = np.exp(-0.01 * (k**2 + m**2) * 0.4) * np.cos(k * (x - 0.2)) * np.sin(m * (y - 0.2))
    np.testing.assert_allclose(final, exact, atol=1e-10)


def test_burgers_agrees_with_the_cole_hopf_solution() -> None:
    """u = -2 nu phi_x / phi, phi = b + exp(-nu k^2 t) cos(k x) solves the heat equation (Cole 1951)."""
    nu, b, k = 0.05, 1.5, 2 * np.pi
    problem = Burgers(viscosity=nu, time_step=0.02, substeps=100, resolution=128, steps=4)
    x = problem.axes(128)[0].points

    def exact(t: float) -> np.ndarray:
        wave = np.exp(-nu * k**2 * t)
        return np.asarray(2 * nu * k * wave * np.sin(k * x) / (b + wave * np.cos(k * x)))

    for step, state in enumerate(problem.trajectory(exact(0.0))):
        np.testing.assert_allclose(state, exact(0.02 * step), atol=1e-6)


def test_a_small_wave_of_kuramoto_sivashinsky_grows_by_its_rate() -> None:
    """Linearised: growth k^2 - k^4."""
    problem = KuramotoSivashinsky(length=4 * np.pi, time_step=0.1, substeps=20, warm_up=0, resolution=64, steps=4)
    k, small = 0.5, 1e-7
    x = problem.axes(64)[0].points
    final = problem.trajectory(small * np.cos(k * x))[-1]
    np.testing.assert_allclose(final, small * np.exp((k**2 - k**4) * 0.4) * np.cos(k * x), atol=1e-5 * small)


def test_burgers_from_a_random_function_is_at_time_one_where_cole_and_hopf_have_it() -> None:
    """u = m - 2 nu phi_x / phi in the frame of the mean m, phi from exp(-int (u_0 - m) / 2 nu) by the heat equation."""
    options = {"time_step": 1.0, "steps": 1, "substeps": 500, "order": 4, "modes": 63}
    problem = Burgers(**options)
    first = problem.first_state(np.random.default_rng(0))
    fine = Burgers(**options, resolution=1024).first_state(np.random.default_rng(0))
    nu, mean, k = 0.01, fine.mean(), 2 * np.pi * np.fft.fftfreq(1024, 1 / 1024)
    slopes = np.fft.fft(fine - mean)
    integral = np.fft.ifft(np.divide(slopes, 1j * k, out=np.zeros_like(slopes), where=k != 0)).real
    carried = np.fft.fft(np.exp(-integral / (2 * nu))) * np.exp(-nu * k**2 - 1j * k * mean)
    exact = mean - 2 * nu * (np.fft.ifft(1j * k * carried) / np.fft.ifft(carried)).real
    np.testing.assert_allclose(problem.trajectory(first)[1], exact[::4], atol=1e-7)
    assert np.abs(exact - fine).max() > 0.1


def test_a_small_forced_wave_of_kuramoto_sivashinsky_grows_by_its_rate() -> None:
    """Linearised, from nothing: f (exp(r t) - 1) / r with r = k^2 - viscosity k^4."""
    k, small, viscosity = 0.5, 1e-7, 1.7
    problem = KuramotoSivashinsky(
        length=4 * np.pi,
        viscosity=viscosity,
        forcing=small,
        time_step=0.1,
        substeps=20,
        warm_up=0,
        resolution=64,
        steps=4,
    )
    rate, x = k**2 - viscosity * k**4, problem.axes(64)[0].points
    final = problem.trajectory(np.zeros(64))[-1]
    expected = small * np.expm1(rate * 0.4) / rate * np.cos(k * x)
    np.testing.assert_allclose(final, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("problem", [Burgers(**SMALL), KuramotoSivashinsky(**SMALL), Burgers(dimensions=2, **SMALL)])
def test_the_mean_is_kept(problem: Burgers) -> None:
    states = problem.trajectory(problem.first_state(np.random.default_rng(0)))
    means = states.reshape(len(states), -1).mean(axis=1)
    np.testing.assert_allclose(means, means[0], atol=1e-9)


@pytest.mark.parametrize("name", SIMULATORS)
def test_a_case_is_the_same_on_every_grid_and_another_for_another_seed(name: str) -> None:
    parameters = {"refine": 1} if name == "darcy" else SMALL | {"warm_up": 2}
    simulator = SIMULATORS[name](**parameters)
    fine, coarse = 64, 16
    [output] = simulator.outputs
    one, again, other = (simulator.case(np.random.default_rng(seed), fine)[output] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    if name != "darcy":  # which is computed anew on every grid
        on_coarse = simulator.case(np.random.default_rng(3), coarse)[output]
        np.testing.assert_array_equal(on_coarse, one[:, :: fine // coarse])


def test_a_random_function_does_not_know_its_grid() -> None:
    def draw(n: int) -> np.ndarray:
        axes = (Axis.uniform(n, "bounded", 1.0, "both"), Axis.uniform(n - 1, "periodic", 1.0))
        return random_function(np.random.default_rng(0), axes, 6, 1.0, 3.0, 2.0)

    np.testing.assert_allclose(draw(33)[::2, ::2], draw(17), atol=1e-12)


def test_a_random_function_has_the_variance_of_its_covariance() -> None:
    axis = Axis.uniform(32)
    draws = np.stack([random_function(np.random.default_rng(seed), (axis,), 4, 25.0, 5.0, 2.0) for seed in range(4000)])
    k = 2 * np.pi * np.arange(1, 5)
    variance = 625 * (25.0**-2 + 2 * np.sum((k**2 + 25) ** -2.0))
    # the mean over 4000 draws of a squared Gaussian has the relative deviation sqrt(2 / 4000)
    np.testing.assert_allclose(draws.var(axis=0), variance, rtol=5 * np.sqrt(2 / 4000))


def test_a_blow_up_is_refused_with_its_state() -> None:
    problem = Burgers(viscosity=1e-6, sigma=1e6, substeps=1, **SMALL)
    with pytest.raises(InputError, match=r"state \d+ is not finite; more substeps \(got 1\) may help"):
        problem.case(np.random.default_rng(0), 64)


def test_a_grid_that_the_resolution_does_not_hold_is_refused() -> None:
    with pytest.raises(InputError, match="points: got 48, expected a divisor of resolution = 64"):
        Burgers(**SMALL).case(np.random.default_rng(0), 48)
