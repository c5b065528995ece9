"""Fetching: through a real pip from a folder of wheels, checked at every step, and nothing half done."""

import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import fetch as command
from pnol_jax.data import AxisSpec, SourceSpec, read_cases
from pnol_jax.data.fetch import Bundle, Member, _digest, fetch
from pnol_jax.data.pytorch import read_tensors
from pnol_jax.data.wheels import pip_command
from pnol_jax.errors import InputError
from pnol_jax.files import sha256_bytes

STORAGES = {"?": "BoolStorage", "f": "FloatStorage", "d": "DoubleStorage", "l": "LongStorage", "B": "ByteStorage"}


def _global(module: str, name: str) -> Any:
    """A stand-in that pickles as a name which this environment need not have."""
    stand_in = type(name, (), {"__module__": module})
    stand_in.__qualname__ = name
    return stand_in


class _Pickler(pickle._Pickler):
    """Writes stand-ins by name and storages as persistent ids, as `torch.save` does."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        if obj is OrderedDict:
            super().save_global(obj, name)
        else:
            self.write(f"c{obj.__module__}\n{obj.__qualname__}\n".encode())
            self.memoize(obj)

    def persistent_id(self, obj: Any) -> Any:
        return obj[1] if isinstance(obj, tuple) and obj and obj[0] == "persistent" else None


class _Tensor:
    def __init__(self, key: int, base: np.ndarray, view: np.ndarray) -> None:
        storage = ("persistent", ("storage", _global("torch", STORAGES[base.dtype.char]), str(key), "cpu", base.size))
        offset = (view.__array_interface__["data"][0] - base.__array_interface__["data"][0]) // base.itemsize
        strides = tuple(stride // base.itemsize for stride in view.strides)
        self.arguments = (storage, offset, view.shape, strides, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return _global("torch._utils", "_rebuild_tensor_v2"), self.arguments


def torch_file(views: dict[str, tuple[np.ndarray, np.ndarray]]) -> bytes:
    """What `torch.save` writes for tensors that are views, (base, view), of flat storages."""
    text, out = io.BytesIO(), io.BytesIO()
    _Pickler(text, 2).dump({name: _Tensor(key, *pair) for key, (name, pair) in enumerate(views.items())})
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", text.getvalue())
        for key, (base, _) in enumerate(views.values()):
            archive.writestr(f"archive/data/{key}", base.tobytes())
        archive.writestr("archive/version", "3\n")
    return out.getvalue()


def whole(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    base = np.ascontiguousarray(array).ravel()
    return base, base.reshape(array.shape)


@pytest.mark.parametrize("dtype", ["?", "<f4", "<f8", "<i8", "u1"])
def test_tensors_of_any_layout_are_read_back(dtype: str) -> None:
    base = (np.random.default_rng(0).random(60) * 9).astype(dtype)
    views = {
        "whole": base.reshape(3, 4, 5),
        "turned": base.reshape(12, 5).T,
        "part": base[7:37].reshape(5, 6)[1:, ::2],
        "one": base[3:4].reshape(()),
    }
    tensors = read_tensors(torch_file({name: (base, view) for name, view in views.items()}), "here")
    for name, view in views.items():
        assert tensors[name].dtype == base.dtype
        np.testing.assert_array_equal(tensors[name], view)


def archive(text: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("archive/data.pkl", text)
        file.writestr("archive/data/0", bytes(16))
    return out.getvalue()


def tensor(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], key: str = "0") -> bytes:
    storage = ("persistent", ("storage", _global("torch", "FloatStorage"), key, "cpu", 4))
    made = _Tensor.__new__(_Tensor)
    made.arguments = (storage, offset, shape, strides, False, OrderedDict())
    out = io.BytesIO()
    _Pickler(out, 2).dump({"x": made})
    return out.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        b"cos\nsystem\n(S'touch HARM'\ntR.",
        b'cbuiltins\neval\n(S\'open("HARM", "w")\'\ntR.',
        b"cnumpy\nload\n.",
        b"ctorch\nload\n.",
        b"ccollections\nUserDict\n.",
        tensor(0, (5,), (1,)),
        tensor(1, (4,), (1,)),
        tensor(0, (2,), (-1,)),
        tensor(-1, (2,), (1,)),
        tensor(0, (10**15,), (0,)),
        tensor(0, (4,), (1,), key="../data.pkl"),
        tensor(0, (4,), (1,), key="7"),
        pickle.dumps([1, 2], protocol=2),
        pickle.dumps({"x": 1}, protocol=2),
        b"",
        b"\x80\x02}",
    ],
)
def test_a_file_that_names_or_holds_anything_else_does_nothing(
    text: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^here"):
        read_tensors(archive(text), "here")
    assert not list(tmp_path.iterdir())


def test_bytes_that_are_no_archive_are_refused() -> None:
    for data in (b"", b"PK\x03\x04", archive(b"}.")[:-30]):
        with pytest.raises(InputError, match=r"^here"):
            read_tensors(data, "here")


class Published:
    """A small data set, published in a wheel in a folder from which alone pip may install."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.a, self.u = rng.random((3, 4, 4)) < 0.5, rng.random((3, 4, 4)).astype(np.float32)
        self.member = torch_file({"x": whole(self.a), "y": whole(self.u)})
        self.wheel = folder / "pnol_sample_set-1.0-py3-none-any.whl"
        self.write(self.member)
        contents = {"permeability": _digest(self.a.astype("u1")), "pressure": _digest(self.u)}
        member = Member("sample/data.pt", "sample.npz", sha256_bytes(self.member), contents)
        arrays = {"x": ("permeability", "u1"), "y": ("pressure", "<f4")}
        self.bundle = Bundle("pnol-sample-set==1.0", sha256_bytes(self.wheel.read_bytes()), arrays, (member,))

    def write(self, member: bytes) -> None:
        about = "pnol_sample_set-1.0.dist-info"
        with zipfile.ZipFile(self.wheel, "w") as file:
            file.writestr("sample/data.pt", member)
            file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: pnol-sample-set\nVersion: 1.0\n")
            file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr(f"{about}/RECORD", "")


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    (tmp_path / "index").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return Published(tmp_path / "index")


def test_a_set_is_fetched_once_and_reads_as_cases(published: Published, tmp_path: Path) -> None:
    files, fetched = fetch(published.bundle, tmp_path / "data")
    assert fetched
    axis = AxisSpec("bounded", 1.0, "both")
    (group,) = read_cases(files, SourceSpec(("permeability",), ("pressure",), (axis, axis))).groups
    np.testing.assert_array_equal(group.inputs[..., 0], published.a)
    np.testing.assert_array_equal(group.outputs[..., 0], published.u)
    assert group.grid.axes[1].coordinates == (0.0, 0.25, 0.5, 0.75)
    published.wheel.unlink()
    before = files[0].stat().st_mtime_ns
    assert fetch(published.bundle, tmp_path / "data") == (files, False)
    assert files[0].stat().st_mtime_ns == before


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _alter(path: Path) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    arrays["pressure"][0, 0, 0] += 1
    np.savez_compressed(path, **arrays)


def _strip(path: Path) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in ("permeability", "pressure")}
    np.savez_compressed(path, **arrays)


@pytest.mark.parametrize("damage", [_cut, _alter, _strip, lambda path: path.write_bytes(b"")])
def test_a_damaged_file_does_not_count_as_fetched(
    published: Published, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    (file,), _ = fetch(published.bundle, tmp_path / "data", published.wheel)
    good = file.read_bytes()
    damage(file)
    assert fetch(published.bundle, tmp_path / "data", published.wheel)[1]
    assert file.read_bytes() == good


def test_without_network_and_cache_it_says_so_and_writes_nothing(published: Published, tmp_path: Path) -> None:
    published.wheel.unlink()
    with pytest.raises(InputError, match=r"cannot download pnol-sample-set==1\.0 .* is there a network connection\?"):
        fetch(published.bundle, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_another_wheel_of_the_same_name_is_refused(published: Published, tmp_path: Path) -> None:
    published.write(published.member + b" ")
    for wheel in (None, published.wheel):
        with pytest.raises(InputError, match=r"got SHA-256 .*damaged, or not what was published"):
            fetch(published.bundle, tmp_path / "data", wheel)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("part", ["digest", "contents"])
def test_a_member_or_an_array_with_another_digest_is_refused(published: Published, tmp_path: Path, part: str) -> None:
    (member,) = published.bundle.members
    changes: dict[str, Any] = {"digest": "0" * 64, "contents": {**member.contents, "pressure": "0" * 64}}
    bundle = replace(published.bundle, members=(replace(member, **{part: changes[part]}),))
    with pytest.raises(InputError, match=f"got SHA-256|has SHA-256 .* expected {'0' * 64}"):
        fetch(bundle, tmp_path / "data", published.wheel)
    assert not (tmp_path / "data").exists()


def test_the_command_says_where_the_files_are(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(command.BUNDLES, "sample", published.bundle)
    arguments = ["sample", "--to", str(tmp_path / "data"), "--wheel", str(published.wheel)]
    assert command.main(arguments) == 0
    assert command.main(arguments) == 0
    first, again = capsys.readouterr().out.split("there already:")
    assert first.startswith("fetched:")
    assert str(tmp_path / "data" / "sample.npz") in first
    assert str(tmp_path / "data" / "sample.npz") in again


def test_pip_is_found_even_where_the_environment_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    found = pip_command()
    assert found[0] in (sys.executable, "uv")
