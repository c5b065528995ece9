"""A folder of arrays: written whole, read as memory maps, several grids in one set, refused with its place."""

import json
from pathlib import Path

import numpy as np
import pytest

from pnol_jax.data import AxisSpec, SourceSpec, arrays, read_cases
from pnol_jax.errors import InputError

SPEC = SourceSpec(inputs=("a",), outputs=("u",), axes=(AxisSpec("bounded", 2.0, "left"),))


def group(cases: int, n: int, **more: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    return {"a": rng.random((cases, n), np.float32), "u": rng.random((cases, n), np.float32), **more}


def test_what_is_written_is_read_back_group_by_group(tmp_path: Path) -> None:
    x = 2 * np.array([0.1, 0.2, 0.4, 0.8, 0.9])
    groups = {"5": group(3, 5, x=x), "7": group(4, 7)}
    arrays.write(tmp_path / "set", groups, {"problem": "none"})
    cases = read_cases([tmp_path / "set"], SPEC)
    assert [len(part) for part in cases.groups] == [3, 4]
    np.testing.assert_allclose(cases.groups[0].grid.axes[0].points, x)
    np.testing.assert_array_equal(cases.groups[1].outputs[:][..., 0], groups["7"]["u"])
    files = cases.provenance["files"]
    assert {Path(file["path"]).name for file in files} == {"a.npy", "u.npy", "x.npy"}
    assert json.loads((tmp_path / "set" / "about.json").read_text()) == {"problem": "none"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_a_folder_without_subfolders_is_one_group(tmp_path: Path) -> None:
    for name, array in group(3, 6).items():
        np.save(tmp_path / f"{name}.npy", array)
    assert read_cases([tmp_path], SPEC).groups[0].inputs.shape == (3, 6, 1)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="something already"):
        arrays.write(tmp_path, {"5": group(2, 5)}, {})
    assert not list(tmp_path.iterdir())


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        arrays.write(tmp_path / "set", {"5": {"a": np.array([object()])}}, {})
    assert not list(tmp_path.iterdir())


def test_damage_and_missing_arrays_are_refused_with_their_place(tmp_path: Path) -> None:
    arrays.write(tmp_path / "set", {"5": group(2, 5)}, {})
    file = tmp_path / "set" / "5" / "u.npy"
    with pytest.raises(InputError, match=r"no array 'v'"):
        read_cases([tmp_path / "set"], SourceSpec(("a",), ("v",), SPEC.axes))
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"u\.npy: not a readable \.npy file"):
        read_cases([tmp_path / "set"], SPEC)
    np.save(file, np.array([[1.0, np.nan, 1, 1, 1], [1, 1, 1, 1, 1]]))
    with pytest.raises(InputError, match=r"array 'u', case 0: 1 values are not finite"):
        read_cases([tmp_path / "set"], SPEC)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no array 'a'"):
        read_cases([tmp_path / "empty"], SPEC)
