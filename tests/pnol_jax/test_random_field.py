"""A random field is a function: the grid says where it is looked at, and its covariance is the stated one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pnol_jax.bases import Basis, GridOperands, make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid
from pnol_jax.posterior_config import NoiseConfig
from pnol_jax.posteriors.random_field import RandomField

BASES = (Basis("fourier", 6), Basis("cosine", 5))
FIELD = RandomField(NoiseConfig("correlated", 0.2, 1.5), BASES)


def operands(n: int, bases: tuple[Basis, ...] = BASES, bucket: tuple[int, ...] | None = None) -> GridOperands:
    axes = tuple(Axis.uniform(n) if basis.paired else Axis.uniform(n + 1, "bounded", 1.0, "both") for basis in bases)
    return jax.tree.map(jnp.asarray, make_operands(Grid(axes), bases, bucket, "float64"))  # type: ignore[no-any-return]


def test_a_draw_on_a_fine_grid_is_the_one_on_a_coarse_grid_where_both_have_points(x64: None) -> None:
    key = jax.random.key(0)
    coarse = FIELD.draw(key, operands(8), 3, 2, float)
    fine = FIELD.draw(key, operands(16, bucket=(20, 20)), 3, 2, float)
    np.testing.assert_allclose(fine[:, :16:2, :17:2], coarse, atol=1e-12)
    each = FIELD.draw(key, stack_operands([operands(8, bucket=(9, 9))] * 3), 3, 2, float)
    np.testing.assert_allclose(each[:, :8], coarse, atol=1e-12)


@pytest.mark.parametrize("bases", [(Basis("fourier", 6),), (Basis("padded", 7),), (Basis("cosine", 5),)])
def test_the_covariance_is_the_matern_one_cut_off_at_the_basis(x64: None, bases: tuple[Basis, ...]) -> None:
    grid, count = operands(8, bases), 20_000
    field = RandomField(FIELD.config, bases)
    drawn = np.asarray(field.draw(jax.random.key(1), grid, count, 1, float))[..., 0]
    waves, functions = bases[0].waves(), np.asarray(grid.axes[0].synthesis) / bases[0].sizes()
    spectrum = (1 + (0.2 * waves) ** 2) ** -(1.5 + 0.5)  # of functions of unit size
    covariance = functions * spectrum @ functions.T
    size = np.sqrt(np.diag(covariance))
    expected = covariance / np.outer(size, size)
    np.testing.assert_allclose(np.diag(expected), 1)
    error = np.sqrt((1 + expected**2) / count)  # of a covariance of Gaussians of variance one
    np.testing.assert_array_less(np.abs(drawn.T @ drawn / count - expected), 5 * error)


@pytest.mark.parametrize("kind", ["white", "correlated"])
def test_cases_have_fields_of_their_own_or_share_one_and_never_see_the_batch(x64: None, kind: str) -> None:
    field, grid, key = RandomField(NoiseConfig(kind), BASES), operands(8), jax.random.key(0)  # type: ignore[arg-type]
    many, alone = (field.draw(key, grid, cases, 1, float) for cases in (4, 2))
    np.testing.assert_array_equal(many[:2], alone)
    assert not np.allclose(many[0], many[1], atol=0.1)
    common = field.draw(key, grid, 4, 1, float, by_case=False)
    np.testing.assert_array_equal(common, jnp.broadcast_to(common[:1], common.shape))


def test_a_correlated_field_without_bases_is_refused() -> None:
    with pytest.raises(InputError, match="without bases"):
        RandomField(NoiseConfig("correlated"), ())
