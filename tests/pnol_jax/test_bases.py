"""Bases as matrices: orthogonality, agreement with the FFT, points that are not equally spaced, padding, rounding."""

import jax
import numpy as np
import pytest

from pnol_jax.bases import Basis, make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid

FOURIER = [(32, 16), (33, 16), (31, 15), (16, 15), (9, 8)]  # points, modes: the last ones keep all that there is


def test_parseval_holds_for_what_the_basis_resolves() -> None:
    rng, basis, axis = np.random.default_rng(0), Basis("fourier", 10), Axis.uniform(24, length=3.0)
    k = 6
    c, s = rng.standard_normal(k), rng.standard_normal(k)
    s[0] = 0
    f = basis.synthesis(axis.points, 3.0) @ np.concatenate([c, s])
    energy = c[0] ** 2 + 2 * np.sum(c[1:] ** 2 + s[1:] ** 2)
    np.testing.assert_allclose(np.mean(f**2), energy, rtol=1e-12)
    np.testing.assert_allclose(basis.analysis(axis).T @ f, np.concatenate([c, s]), atol=1e-12)


@pytest.mark.parametrize(("n", "modes"), FOURIER)
def test_fourier_analysis_is_the_fft(n: int, modes: int) -> None:
    f = np.random.default_rng(n).standard_normal(n)
    coefficients = Basis("fourier", modes).analysis(Axis.uniform(n)).T @ f
    kept = modes // 2 + 1
    spectrum = np.fft.rfft(f, norm="forward")[:kept]
    np.testing.assert_allclose(coefficients[:kept], spectrum.real, atol=1e-13)
    np.testing.assert_allclose(coefficients[kept:], -spectrum.imag, atol=1e-13)


@pytest.mark.parametrize("placement", ["centre", "both"])
def test_cosines_come_back_up_to_the_highest(placement: str) -> None:
    axis = Axis.uniform(17, "bounded", 2.0, placement)  # type: ignore[arg-type]
    basis = Basis("cosine", 17 if placement == "centre" else 16)
    S, A = basis.synthesis(axis.points, 2.0), basis.analysis(axis)
    np.testing.assert_allclose(A.T @ S, np.eye(basis.modes), atol=1e-10)
    x = axis.points
    np.testing.assert_allclose(S[:, 15], np.sqrt(2) * np.cos(15 * np.pi * x / 2), atol=1e-12)


@pytest.mark.parametrize("kind", ["fourier", "cosine"])
def test_points_that_are_not_uniform_give_back_every_function(kind: str) -> None:
    rng = np.random.default_rng(1)
    points = np.sort((np.arange(30) + rng.uniform(-0.4, 0.4, 30) + 0.5) / 30)
    axis = Axis("periodic" if kind == "fourier" else "bounded", 1.0, tuple(points.tolist()))
    basis = Basis(kind, 10)  # type: ignore[arg-type]
    S, A = basis.synthesis(points, 1.0), basis.analysis(axis)
    np.testing.assert_allclose(S @ (A.T @ S), S, atol=1e-10)


def test_the_analysis_of_a_padded_basis_is_inner_products() -> None:
    axis = Axis("bounded", 1.0, (0.05, 0.2, 0.4, 0.45, 0.7, 0.95))
    basis = Basis("padded", 5, padding=1.5)
    w = axis.weights()
    f = np.random.default_rng(0).standard_normal(6)
    expected = [np.sum(w * f * s) for s in basis.synthesis(axis.points, 1.0).T]
    np.testing.assert_allclose(basis.analysis(axis).T @ f, expected, rtol=1e-12)
    x = axis.points[:, None]
    k = 2 * np.pi * np.arange(1, 3) / 1.5
    functions = [np.ones((6, 1)), np.sqrt(2) * np.cos(k * x), np.sqrt(2) * np.sin(k * x)]
    np.testing.assert_allclose(basis.synthesis(axis.points, 1.0), np.concatenate(functions, 1), atol=1e-14)


def test_coefficients_do_not_change_with_the_number_of_points() -> None:
    basis = Basis("fourier", 12)
    coefficients = np.random.default_rng(0).standard_normal(basis.functions)
    coefficients[basis.functions // 2] = 0  # sin 0
    for n in (13, 20, 64, 101):
        axis = Axis.uniform(n)
        f = basis.synthesis(axis.points, 1.0) @ coefficients
        np.testing.assert_allclose(basis.analysis(axis).T @ f, coefficients, atol=1e-12)


@pytest.mark.parametrize("kind", ["fourier", "cosine", "padded"])
def test_coefficients_do_not_change_with_the_length_of_the_axis(kind: str) -> None:
    basis, n = Basis(kind, 5), 12  # type: ignore[arg-type]
    one, three = (
        Axis.uniform(n, length=length) if kind == "fourier" else Axis.uniform(n, "bounded", length, "centre")
        for length in (1.0, 3.0)
    )
    np.testing.assert_allclose(basis.analysis(three), basis.analysis(one), rtol=0, atol=1e-14)
    np.testing.assert_allclose(3 * basis.derivative(three), basis.derivative(one), rtol=0, atol=1e-9)


def test_float32_operands_are_within_the_rounding_of_a_product_of_their_size() -> None:
    """|fl(A^T f) - A^T f| <= (gamma_n + u) |A|^T |f|, gamma_n = n u / (1 - n u) (Higham 2002, section 3.1)."""
    axis, basis = Axis.uniform(64), Basis("fourier", 32)
    f = np.random.default_rng(0).standard_normal(64).astype(np.float32)
    operands = make_operands(Grid((axis,)), (basis,)).axes[0]
    exact = basis.analysis(axis).T @ f.astype(np.float64)
    u = np.finfo(np.float32).eps / 2
    bound = (64 * u / (1 - 64 * u) + u) * (np.abs(basis.analysis(axis)).T @ np.abs(f))
    computed = np.asarray(jax.jit(lambda m, v: m.T @ v)(operands.analysis, f), np.float64)
    assert np.all(np.abs(computed - exact) <= bound + 1e-12)


def test_padding_adds_zero_rows_and_nothing_else() -> None:
    grid = Grid((Axis.uniform(9), Axis.uniform(7, "bounded", 2.0, "both")))
    bases = (Basis("fourier", 4), Basis("cosine", 3))
    plain, padded = make_operands(grid, bases), make_operands(grid, bases, (12, 8))
    for position, (one, other) in enumerate(zip(plain.axes, padded.axes, strict=True)):
        n = grid.shape[position]
        for name in ("points", "weights", "mask", "analysis", "synthesis", "derivative"):
            np.testing.assert_array_equal(getattr(other, name)[:n], getattr(one, name))
            assert not np.any(getattr(other, name)[n:])
    assert padded.mask().sum() == 63


def test_stacked_operands_are_those_of_each_case() -> None:
    bases = (Basis("fourier", 4),)
    cases = [make_operands(Grid((Axis.uniform(n),)), bases, (12,)) for n in (7, 12)]
    stacked = stack_operands(cases)
    assert stacked.batched
    assert not cases[0].batched
    assert stacked.weights().shape == (2, 12)
    np.testing.assert_array_equal(stacked.axes[0].analysis[1], cases[1].axes[0].analysis)
    with pytest.raises(InputError, match="must share a bucket"):
        stack_operands([cases[0], make_operands(Grid((Axis.uniform(7),)), bases)])


@pytest.mark.parametrize(
    ("axis", "basis", "bucket", "message"),
    [
        (Axis.uniform(8), Basis("fourier", 8), None, "8 modes .* need at least 9 points on axis 0, the grid has 8"),
        (Axis.uniform(8, "bounded"), Basis("padded", 9), None, "9 modes .* need at least 9 points"),
        (Axis.uniform(8, "bounded"), Basis("fourier", 4), None, "expected 'padded' or 'cosine'"),
        (Axis.uniform(8), Basis("cosine", 4), None, "'cosine' is for a bounded axis"),
        (Axis.uniform(8), Basis("fourier", 4), (7,), r"does not fit into the bucket \(7,\)"),
        (Axis.uniform(8), Basis("fourier", 4), (8, 8), "a bucket of 2 axes"),
    ],
)
def test_what_does_not_fit_is_refused(axis: Axis, basis: Basis, bucket: tuple[int, ...] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_operands(Grid((axis,)), (basis,), bucket)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sine", 4), "got 'sine'"),
        (("fourier", 0), "modes: got 0, expected at least 1"),
        (("padded", 4, 1.0), "padding: got 1, expected more than 1"),
    ],
)
def test_bases_that_are_none_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Basis(*arguments)  # type: ignore[arg-type]
