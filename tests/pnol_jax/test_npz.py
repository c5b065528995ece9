"""Reading `.npz` files: what comes out, and how each kind of bad file is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pnol_jax.data import AxisSpec, CaseSet, SourceSpec, read_cases
from pnol_jax.data.cases import CaseGroup
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid

SQUARE = (AxisSpec("bounded", 1.0, "left"),) * 2
DARCY = SourceSpec(("a",), ("u",), SQUARE)


def write(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def darcy(path: Path, cases: int = 6, n: int = 8, **more: Any) -> Path:
    rng = np.random.default_rng(n)
    a, u = rng.integers(0, 2, (cases, n, n), np.uint8), rng.standard_normal((cases, n, n))
    return write(path, **{"a": a, "u": u, "x": np.arange(n) / n, "y": np.arange(n) / n} | more)


def test_values_become_float32_with_channels_last(tmp_path: Path) -> None:
    path = darcy(tmp_path / "d.npz")
    (group,) = read_cases([path], DARCY).groups
    with np.load(path) as file:
        np.testing.assert_array_equal(group.inputs[..., 0], file["a"].astype(np.float32))
        np.testing.assert_array_equal(group.outputs[..., 0], file["u"].astype(np.float32))
    assert group.inputs.dtype == group.outputs.dtype == np.float32


def test_several_arrays_become_channels_in_the_order_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b, nu = rng.random((3, 8)), rng.random((3, 8, 2)), rng.random(3)
    path = write(tmp_path / "d.npz", a=a, b=b, nu=nu, u=a)
    spec = SourceSpec(("b", "nu", "a"), ("u",), (AxisSpec(),))
    inputs = read_cases([path], spec).groups[0].inputs
    constant = np.broadcast_to(nu[:, None, None], (3, 8, 1))
    np.testing.assert_array_equal(inputs, np.concatenate([b, constant, a[..., None]], -1).astype(np.float32))


def test_coordinates_follow_what_is_selected(tmp_path: Path) -> None:
    path = darcy(tmp_path / "d.npz")
    whole = read_cases([path], DARCY)
    cut = read_cases([path], SourceSpec(("a",), ("u",), SQUARE, select=("1:", "1:-1:2")))
    group = cut.groups[0]
    assert group.grid.axes[0].coordinates == tuple(i / 8 for i in range(1, 8))
    assert group.grid.axes[1].coordinates == (1 / 8, 3 / 8, 5 / 8)
    np.testing.assert_array_equal(group.outputs, whole.groups[0].outputs[:, 1:, 1:-1:2])
    assert whole.select(("1:", "1:-1:2")).digest == cut.digest != whole.digest


def test_float32_coordinates_of_uniform_points_become_exact(tmp_path: Path) -> None:
    x = ((np.arange(100) + 0.5) / 100 * 2 - 1).astype(np.float32)
    path = write(tmp_path / "d.npz", a=np.ones((2, 100)), u=np.ones((2, 100)), x=x)
    spec = SourceSpec(("a",), ("u",), (AxisSpec("bounded", 2.0, "centre"),))
    assert read_cases([path], spec).groups[0].grid.axes[0] == Axis.uniform(100, "bounded", 2.0, "centre")


def test_files_with_grids_of_their_own_make_one_set(tmp_path: Path) -> None:
    files = [darcy(tmp_path / f"{n}.npz", cases=n, n=n) for n in (5, 8)]
    cases = read_cases(files, DARCY)
    assert [group.grid.shape for group in cases.groups] == [(5, 5), (8, 8)]
    assert len(cases) == 13
    assert [entry["path"] for entry in cases.provenance["files"]] == [str(file) for file in files]


def test_the_digest_names_the_content(tmp_path: Path) -> None:
    first, again = darcy(tmp_path / "1.npz"), darcy(tmp_path / "2.npz")
    other = darcy(tmp_path / "3.npz", u=np.zeros((6, 8, 8)))
    digests = [read_cases([path], DARCY).digest for path in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("count", [1, 4, 12])
def test_a_split_is_a_partition_that_the_seed_decides(tmp_path: Path, count: int) -> None:
    u = np.arange(13.0)[:, None] * np.ones(8)
    files = [write(tmp_path / f"{i}.npz", a=part, u=part) for i, part in enumerate((u[:5], u[5:]))]
    cases = read_cases(files, SourceSpec(("a",), ("u",), (AxisSpec(),)))

    def numbers(part: CaseSet) -> list[float]:
        return [float(value) for group in part.groups for value in group.outputs[:, 0, 0]]

    rest, held = cases.split(count, seed=3)
    assert len(held) == count
    assert sorted(numbers(rest) + numbers(held)) == list(range(13))
    assert numbers(cases.split(count, seed=3)[1]) == numbers(held)
    assert any(numbers(cases.split(count, seed=seed)[1]) != numbers(held) for seed in range(4, 12))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"no file or folder 'nowhere\.npz'"):
        read_cases(["nowhere.npz"], DARCY)


def test_a_kind_of_file_that_is_not_known_is_refused(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("1,2")
    with pytest.raises(InputError, match=r"'\.csv', expected one of a folder, \.npz, \.h5"):
        read_cases([tmp_path / "d.csv"], DARCY)


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    whole = darcy(tmp_path / "whole.npz").read_bytes()
    path = tmp_path / "short.npz"
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"short\.npz"):
            read_cases([path], DARCY)


def test_a_file_with_a_damaged_byte_is_refused_or_unharmed(tmp_path: Path) -> None:
    whole = darcy(tmp_path / "whole.npz")
    expected = read_cases([whole], DARCY).digest
    data, path = whole.read_bytes(), tmp_path / "damaged.npz"
    refused = 0
    for position in range(0, len(data), 53):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x55]) + data[position + 1 :])
        try:
            digest = read_cases([path], DARCY).digest
        except InputError:
            refused += 1
        else:
            assert digest == expected
    assert refused


def test_a_wrong_name_gets_the_nearest_and_all_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", permeability=np.ones((2, 8)), pressure=np.ones((2, 8)))
    with pytest.raises(InputError, match=r"no array 'presure'; did you mean 'pressure'\? .*'permeability', 'pressure'"):
        read_cases([path], SourceSpec(("permeability",), ("presure",), (AxisSpec(),)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_value_that_is_not_finite_is_named_by_array_and_case(tmp_path: Path, bad: float) -> None:
    u = np.ones((6, 8, 8))
    u[4, 2, 3] = bad
    with pytest.raises(InputError, match=r"array 'u', case 4: 1 values are not finite"):
        read_cases([darcy(tmp_path / "d.npz", u=u)], DARCY)


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    path = write(tmp_path / "d.npz", a=np.array([{}, {}], dtype=object), u=np.ones((2, 8)))
    with pytest.raises(InputError, match="array 'a' cannot be read"):
        read_cases([path], SourceSpec(("a",), ("u",), (AxisSpec(),)))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"u": np.ones((6, 8, 9))}, r"array 'a' has shape \(6, 8, 8\), expected \(6, 8, 9\)"),
        ({"u": np.ones((5, 8, 8))}, r"array 'a' has shape \(6, 8, 8\), expected \(5, 8, 8\)"),
        ({"a": np.ones(())}, r"array 'a' has shape \(\), expected \(6, 8, 8\)"),
        ({"u": np.ones((6, 8))}, r"array 'u' has shape \(6, 8\), expected \(cases, x, y\)"),
        ({"u": np.full((6, 8, 8), "a")}, "array 'u' has type <U1, expected real numbers"),
        ({"x": np.linspace(0, 3, 8)}, r"axis 0: coordinates span 3, which does not fit into the length 1"),
        ({"y": np.ones(7)}, r"axis 1: got coordinates of shape \(7,\) for 8 points"),
    ],
)
def test_shapes_and_coordinates_that_do_not_fit_are_explained(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_cases([darcy(tmp_path / "d.npz", **arrays)], DARCY)


@pytest.mark.parametrize("select", [("1:",), ("1:", "a:"), ("1:", "::0"), ("1:", "::-1"), ("1:", "5"), ("7:", "1:")])
def test_a_selection_that_makes_no_grid_is_refused(tmp_path: Path, select: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        read_cases([darcy(tmp_path / "d.npz")], SourceSpec(("a",), ("u",), SQUARE, select=select))


def test_groups_of_different_problems_do_not_mix() -> None:
    grid = Grid((Axis.uniform(8),))
    one = CaseGroup(grid, np.ones((2, 8, 1)), np.ones((2, 8, 1)))
    two = CaseGroup(grid, np.ones((2, 8, 2)), np.ones((2, 8, 1)))
    with pytest.raises(InputError, match="group 1 of the cases: got input channels 2, expected 1"):
        CaseSet((one, two))


def test_cases_given_as_arrays_are_checked_too() -> None:
    values = np.ones((3, 8, 1))
    values[1, 0, 0] = np.nan
    with pytest.raises(InputError, match="outputs, case 1"):
        CaseGroup(Grid((Axis.uniform(8),)), np.ones((3, 8, 1)), values)
