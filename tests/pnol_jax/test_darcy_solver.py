"""The finite-volume solver of Darcy flow: its order, exact cases, and the balance of its fluxes."""

import numpy as np
import pytest

from pnol_jax.data.simulators.darcy import Darcy, solve_darcy
from pnol_jax.errors import InputError


def centres(n: int) -> tuple[np.ndarray, np.ndarray]:
    x = (np.arange(n) + 0.5) / n
    return np.meshgrid(x, x, indexing="ij")


def manufactured_error(n: int) -> float:
    """u = sin(pi x) sin(2 pi y), a = 1 + x + y / 2: f = -a Laplace u - a_x u_x - a_y u_y."""
    x, y = centres(n)
    sx, cx, sy, cy = np.sin(np.pi * x), np.cos(np.pi * x), np.sin(2 * np.pi * y), np.cos(2 * np.pi * y)
    a = 1 + x + y / 2
    source = 5 * np.pi**2 * a * sx * sy - np.pi * cx * sy - np.pi * sx * cy
    return float(np.abs(solve_darcy(a, source) - sx * sy).max())


def test_the_order_of_convergence_is_two() -> None:
    errors = [manufactured_error(n) for n in (16, 32, 64)]
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    assert np.all((orders > 1.9) & (orders < 2.1)), orders


def test_two_cells_are_joined_by_the_harmonic_mean_and_held_at_their_edges() -> None:
    """Two by one cells, a = 1 and 3: face 2 * 1 * 3 / 4 over 1/4; edges half a cell away."""
    u = solve_darcy(np.array([[1.0], [3.0]]), np.array([[1.0], [2.0]]))
    exact = np.linalg.solve([[6 + 8 + 4, -6], [-6, 6 + 24 + 12]], [1.0, 2.0])
    np.testing.assert_allclose(u[:, 0], exact, rtol=1e-12)


def test_what_flows_out_is_what_the_source_gives() -> None:
    n = 24
    a = np.where(np.random.default_rng(0).random((n, n)) < 0.5, 3.0, 12.0)
    u = solve_darcy(a, np.ones((n, n)))
    out = sum(2 * np.sum(np.take(a, edge, axis) * np.take(u, edge, axis)) for axis in (0, 1) for edge in (0, n - 1))
    np.testing.assert_allclose(out, 1.0, rtol=1e-10)  # flux 2 n a u through faces of length 1/n; source 1


def test_symmetries_of_the_square_carry_over() -> None:
    a = 1 + np.random.default_rng(1).random((12, 12))
    u = solve_darcy(a, np.ones_like(a))
    for move in (np.transpose, np.flipud, np.fliplr, np.rot90):
        np.testing.assert_allclose(solve_darcy(move(a), np.ones_like(a)), move(u), rtol=1e-9)
    np.testing.assert_allclose(solve_darcy(2 * a, np.ones_like(a)), u / 2, rtol=1e-10)


@pytest.mark.parametrize("kind", ["two-valued", "lognormal"])
def test_a_finer_solver_gives_nearly_the_same_pressure_at_the_same_points(kind: str) -> None:
    coarse, fine = (
        Darcy(permeability=kind, modes=4, refine=refine).case(np.random.default_rng(2), 15) for refine in (3, 9)
    )
    if kind == "lognormal":
        np.testing.assert_allclose(coarse["permeability"], fine["permeability"], rtol=1e-10)
    error = np.linalg.norm(coarse["pressure"] - fine["pressure"]) / np.linalg.norm(fine["pressure"])
    assert error < (0.05 if kind == "two-valued" else 0.005)


def test_the_two_values_are_those_asked_for() -> None:
    a = Darcy(low=2.0, high=5.0).case(np.random.default_rng(0), 15)["permeability"]
    assert set(np.unique(a)) == {2.0, 5.0}


@pytest.mark.parametrize(
    ("a", "message"),
    [
        (np.zeros((4, 4)), "not positive everywhere"),
        (np.full((4, 4), np.nan), "not positive everywhere"),
        (np.ones((4, 5)), r"got permeability \(4, 5\) and source \(4, 4\)"),
    ],
)
def test_bad_input_is_refused(a: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        solve_darcy(a, np.ones((4, 4)))


def test_an_even_refinement_is_refused() -> None:
    with pytest.raises(InputError, match="refine: got 2, expected an odd number"):
        Darcy(refine=2).case(np.random.default_rng(0), 5)
