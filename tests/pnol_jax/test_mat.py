"""MATLAB's files of versions 5 and 7.3 give the arrays that MATLAB shows, and each kind of bad file is refused."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat
from scipy.sparse import csc_matrix

from pnol_jax.data import AxisSpec, SourceSpec, assemble, read_cases
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis

Write = Callable[..., Path]
BOX = (AxisSpec("bounded", 2.0, "left"), AxisSpec("bounded", 1.0, "left"))
SPEC = SourceSpec(("a", "nu"), ("u",), BOX)


def version_5(path: Path, **arrays: Any) -> Path:
    savemat(path, arrays)
    return path


def compressed(path: Path, **arrays: Any) -> Path:
    savemat(path, arrays, do_compression=True)
    return path


def version_73(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=np.atleast_2d(array).T)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")
    return path


EVERY = [version_5, compressed, version_73]


@pytest.fixture(params=EVERY, ids=lambda write: write.__name__)
def write(request: pytest.FixtureRequest) -> Write:
    found: Write = request.param
    return found


@pytest.fixture
def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    a, u = rng.integers(0, 2, (5, 6, 4), np.uint8), rng.standard_normal((5, 6, 4, 2))
    return {"a": a, "u": u, "nu": rng.random((5, 1)), "x": 2 * np.arange(6) / 6, "y": np.arange(4)[:, None] / 4}


@pytest.mark.parametrize("on_disk", [False, True])
def test_arrays_come_back_as_matlab_shows_them(
    tmp_path: Path, write: Write, arrays: dict[str, Any], on_disk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_disk:
        monkeypatch.setattr(assemble, "loaded", lambda field: field)
    cases = read_cases([write(tmp_path / "d.mat", **arrays, note=np.ones((2, 2)))], SPEC)
    (group,) = cases.groups
    np.testing.assert_array_equal(group.inputs[:, ..., 0], arrays["a"].astype(np.float32))
    np.testing.assert_array_equal(group.inputs[:, 2, 3, 1], arrays["nu"][:, 0].astype(np.float32))
    np.testing.assert_array_equal(group.outputs, arrays["u"].astype(np.float32))
    np.testing.assert_array_equal(group.outputs[1:3, 4], arrays["u"][1:3, 4].astype(np.float32))
    assert group.grid.axes == (Axis.uniform(6, "bounded", 2.0), Axis.uniform(4, "bounded", 1.0))
    assert len(cases.provenance["files"][0]["sha256"]) == 64


def test_trajectories_take_their_times_from_the_file(tmp_path: Path, write: Write) -> None:
    u = np.random.default_rng(1).standard_normal((3, 5, 8)).astype(np.float32)
    path = write(tmp_path / "d.mat", u=u, t=0.5 * np.arange(5.0))
    (group,) = read_cases([path], SourceSpec((), ("u",), (AxisSpec(),), 1.0)).groups
    np.testing.assert_array_equal(group.outputs, u[:, ::2, :, None])


@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
def test_numbers_of_every_type_are_read(tmp_path: Path, write: Write, dtype: str) -> None:
    u = np.arange(24).reshape(3, 8).astype(dtype)
    (group,) = read_cases([write(tmp_path / "d.mat", u=u, a=u)], SourceSpec(("a",), ("u",), (AxisSpec(),))).groups
    np.testing.assert_array_equal(group.outputs[..., 0], u.astype(np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": np.ones((5, 6, 4)) + 1j}, "array 'u' is complex, expected real numbers"),
        ({"u": np.ones((5, 6, 5))}, r"array 'a' has shape \(5, 6, 4\), expected \(5, 6, 5\)"),
        ({"nu": np.ones((4, 1))}, r"array 'nu' has shape \(4,\), expected"),
        ({"x": np.arange(5.0)}, r"axis 0: got coordinates of shape \(5,\) for 6 points"),
    ],
)
def test_what_does_not_fit_is_explained(
    tmp_path: Path, write: Write, arrays: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=rf"d\.mat: .*{message}|{message}"):
        read_cases([write(tmp_path / "d.mat", **(arrays | change))], SPEC)


def test_a_wrong_name_gets_the_nearest(tmp_path: Path, write: Write, arrays: dict[str, Any]) -> None:
    path = write(tmp_path / "d.mat", **arrays)
    with pytest.raises(InputError, match=r"no array 'aa'; did you mean 'a'\?"):
        read_cases([path], SourceSpec(("aa",), ("u",), BOX))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (np.array([{}, 1], object), "a cell array"),
        ({"k": 1}, "a structure"),
        ("text", "a text"),
        (csc_matrix(np.eye(3)), "a sparse matrix"),
    ],
)
def test_what_is_no_array_of_numbers_is_named(tmp_path: Path, arrays: dict[str, Any], value: Any, kind: str) -> None:
    for write in (version_5, compressed):
        with pytest.raises(InputError, match=f"array 'u' is {kind}, expected real numbers"):
            read_cases([write(tmp_path / "d.mat", **(arrays | {"u": value}))], SPEC)


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [({"MATLAB_class": np.bytes_("char")}, "a text"), ({"MATLAB_empty": 1}, "empty"), ({}, "a structure")],
)
def test_what_is_no_array_of_numbers_in_version_73(
    tmp_path: Path, arrays: dict[str, Any], attributes: dict[str, Any], kind: str
) -> None:
    path = version_73(tmp_path / "d.mat", **arrays)
    with h5py.File(path, "a") as file:
        if attributes:
            file["u"].attrs.update(attributes)
        else:
            del file["u"]
            file.create_group("u")
    with pytest.raises(InputError, match=f"array 'u' is {kind}, expected real numbers"):
        read_cases([path], SPEC)


def test_a_file_cut_short_is_refused(tmp_path: Path, write: Write, arrays: dict[str, Any]) -> None:
    whole = write(tmp_path / "whole.mat", **arrays).read_bytes()
    path = tmp_path / "short.mat"
    for size in range(0, len(whole) - 8, 97):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"short\.mat"):
            read_cases([path], SPEC)


@pytest.mark.parametrize("write", [version_5, compressed])
def test_a_damaged_byte_is_refused_or_changes_no_more_than_numbers(
    tmp_path: Path, write: Write, arrays: dict[str, Any]
) -> None:
    """SciPy's own reader ends the process at some of these. What is compressed has a checksum."""
    whole = write(tmp_path / "whole.mat", **arrays)
    digest, data, path = read_cases([whole], SPEC).digest, whole.read_bytes(), tmp_path / "damaged.mat"
    generator, refused = np.random.default_rng(0), 0
    for _ in range(600):
        place, value = int(generator.integers(len(data))), int(generator.integers(256))
        path.write_bytes(data[:place] + bytes([value]) + data[place + 1 :])
        try:
            read = read_cases([path], SPEC)
        except InputError:
            refused += 1
        else:
            assert read.groups[0].outputs.shape == (5, 6, 4, 2)
            assert read.digest == digest or write is version_5
    assert refused > 30


def test_without_h5py_the_extra_is_named(
    tmp_path: Path, arrays: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = version_5(tmp_path / "5.mat", **arrays), version_73(tmp_path / "73.mat", **arrays)
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert len(read_cases([old], SPEC)) == 5
    with pytest.raises(InputError, match=r"73\.mat: HDF5 files need h5py.*pnol-jax\[hdf5\]"):
        read_cases([new], SPEC)
