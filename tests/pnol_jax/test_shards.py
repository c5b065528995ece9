"""A group in shards: read as one array, case by case; whole or not there; damage named; larger than memory."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pnol_jax.data import AxisSpec, SourceSpec, arrays, read_cases
from pnol_jax.data.appending import AppendedArray
from pnol_jax.data.fields import LazyField
from pnol_jax.data.joined import Joined, part
from pnol_jax.data.shards import Case, clear, write_group, write_shard
from pnol_jax.errors import InputError

ROOT = Path(__file__).parents[2]
SIZES = (3, 1, 4, 2)
SPEC = SourceSpec(inputs=("a",), outputs=("u",), axes=(AxisSpec("periodic", 1.0),))
TIMED = SourceSpec(inputs=("k",), outputs=("u",), axes=(AxisSpec("periodic", 1.0),), time_step=0.5)


def cases_of(first: int, count: int, *shape: int) -> Iterator[Case]:
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        fields = {name: rng.random(shape, np.float32) for name in "au"}
        yield Case({"case": number}, fields | {"k": np.float32(number)})


def write_set(path: Path, *shape: int) -> dict[str, np.ndarray]:
    """A set of one group in shards; and its arrays as they are."""
    names = [f"shard-{number:05d}" for number in range(len(SIZES))]
    for name, first, count in zip(names, np.cumsum((0, *SIZES)), SIZES, strict=False):
        write_shard(path / "g", name, cases_of(first, count, *shape))
    write_group(path / "g", names, {"x": np.arange(shape[-1]) / shape[-1], "t": 0.5 * np.arange(shape[0])})
    whole = [case.arrays for case in cases_of(0, sum(SIZES), *shape) if case.arrays]
    return {name: np.stack([entry[name] for entry in whole]) for name in whole[0]}


def test_an_appended_array_is_what_numpy_saves(tmp_path: Path) -> None:
    for number, array in enumerate((np.zeros((1234, 2, 3), "<f4"), np.arange(7.0), np.ones((1, 5), "i8"))):
        with AppendedArray(tmp_path / f"{number}.npy") as file:
            for entry in array:
                file.append(entry)
        np.save(tmp_path / "saved.npy", array)
        assert (tmp_path / f"{number}.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()


def test_shards_are_read_as_one_array(tmp_path: Path) -> None:
    whole = write_set(tmp_path, 6, 8)
    files = [file.relative_to(tmp_path / "g") for file in sorted((tmp_path / "g").glob("*/u.npy"))]
    joined = Joined([part(tmp_path / "g" / file, "") for file in files])
    assert joined.shape == whole["u"].shape
    for start in range(sum(SIZES)):
        for stop in range(start + 1, sum(SIZES) + 1):
            np.testing.assert_array_equal(joined[slice(start, stop), 2:5, ::2], whole["u"][start:stop, 2:5, ::2])
    group = read_cases([tmp_path], TIMED).groups[0]
    np.testing.assert_array_equal(group.outputs[:][..., 0], whole["u"])
    np.testing.assert_array_equal(group.inputs[:, 0, 0], whole["k"])


def test_a_set_in_shards_trains_as_the_same_set_in_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pnol_jax.data.fields.loaded.__defaults__", (0,))  # nothing is small enough for memory
    whole = write_set(tmp_path / "shards", 8)
    arrays.write(tmp_path / "file", {"g": {name: whole[name] for name in "au"}}, {})
    sets = [read_cases([tmp_path / name], SPEC) for name in ("shards", "file")]
    for field in ("inputs", "outputs"):
        one, other = (getattr(cases.groups[0], field) for cases in sets)
        assert isinstance(one, LazyField)
        rows = np.array([9, 0, 3, 4, 5, 2, 2])
        np.testing.assert_array_equal(one[rows], other[rows])
        np.testing.assert_array_equal(one.keep((slice(1, None, 3),))[:], other[:][:, 1::3])


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    for name in ("one", "same", "other"):
        write_set(tmp_path / name, 8)
    write_shard(tmp_path / "other" / "g", "shard-00004", cases_of(10, 1, 8))
    write_group(tmp_path / "other" / "g", [f"shard-{n:05d}" for n in range(5)], {})
    one, same, other = (read_cases([tmp_path / name], SPEC).digest for name in ("one", "same", "other"))
    assert one == same != other


def test_provenance_has_one_entry_for_an_array_however_many_files_it_has(tmp_path: Path) -> None:
    write_set(tmp_path, 8)
    files = read_cases([tmp_path], SPEC).provenance["files"]
    assert [Path(file["path"]).name for file in files] == ["a.npy", "u.npy", "x.npy", "t.npy"]


def test_what_fails_half_way_leaves_no_shard(tmp_path: Path) -> None:
    def broken() -> Iterator[Case]:
        yield from cases_of(0, 2, 8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "g", "shard-00000", broken())
    uneven = [*cases_of(0, 1, 8), *cases_of(1, 1, 9)]
    with pytest.raises(ValueError, match=r"\(9,\), expected .*\(8,\)"):
        write_shard(tmp_path / "g", "shard-00000", uneven)
    assert not list((tmp_path / "g").iterdir())


def test_of_two_that_make_the_same_shard_the_second_is_dropped(tmp_path: Path) -> None:
    write_shard(tmp_path, "shard-00000", cases_of(0, 2, 8))
    before = (tmp_path / "shard-00000" / "u.npy").stat()
    write_shard(tmp_path, "shard-00000", cases_of(0, 2, 8))
    assert (tmp_path / "shard-00000" / "u.npy").stat() == before
    assert [file.name for file in tmp_path.iterdir()] == ["shard-00000"]


def test_clearing_takes_what_is_half_written_and_nothing_else(tmp_path: Path) -> None:
    write_set(tmp_path, 8)
    (tmp_path / "g" / ".hidden").write_text("of the user")
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "g" / ".shard-00009.abc").mkdir()
    (tmp_path / "g" / ".digests.json.abc").write_text("{")
    (tmp_path / ".about.json.abc").write_text("{")
    clear(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unfinished_set_is_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "g", "shard-00000", cases_of(0, 2, 8))
    with pytest.raises(InputError, match=r"g: not whole: there is no digests\.json"):
        read_cases([tmp_path], SPEC)
    write_group(tmp_path / "g", ["shard-00000"], {})
    (tmp_path / "unfinished.json").write_text("{}")
    with pytest.raises(InputError, match="not finished"):
        read_cases([tmp_path], SPEC)
    (tmp_path / "unfinished.json").rename(tmp_path / "about.json")
    assert len(read_cases([tmp_path], SPEC)) == 2


@pytest.mark.parametrize("name", ["shard-00002/u.npy", "x.npy", "digests.json"])
def test_a_flipped_byte_is_found_and_its_file_named(tmp_path: Path, name: str) -> None:
    write_set(tmp_path, 8)
    file = tmp_path / "g" / name
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged" if name == "digests.json" else rf"g/{name}: damaged"):
        read_cases([tmp_path], SPEC)


def test_a_lost_shard_is_named(tmp_path: Path) -> None:
    write_set(tmp_path, 8)
    (tmp_path / "g" / "shard-00001").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"shard-00001/a\.npy: not readable: No such file"):
        read_cases([tmp_path], SPEC)


READ_ALL = """
import json, re, resource, sys
from pathlib import Path
import numpy as np
from pnol_jax.data import AxisSpec, SourceSpec, fields, read_cases
spec = SourceSpec(("a",), ("a",), (AxisSpec("periodic", 1.0),))
used = 1024 * int(re.search(r"VmSize:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
room = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
group = read_cases([sys.argv[1]], spec).groups[0]
assert group.inputs.nbytes > 2 * room, group.inputs.nbytes
try:
    group.inputs[:]
except MemoryError:
    print(sum(float(piece.sum()) for piece in fields.chunks(group.inputs)))
"""


def test_a_set_larger_than_the_memory_is_read(tmp_path: Path) -> None:
    count, n, room = 300, 2**16, 2**28
    names = [f"shard-{number:05d}" for number in range(count)]
    entries = (Case({}, {"a": np.full(n, number, np.float32)}) for number in range(8))
    write_shard(tmp_path / "g", names[0], entries)
    for name in names[1:]:
        shutil.copytree(tmp_path / "g" / names[0], tmp_path / "g" / name, copy_function=os.link)
    write_group(tmp_path / "g", names, {})
    words = [sys.executable, "-c", READ_ALL, str(tmp_path), str(room)]
    environment = os.environ | {"MALLOC_ARENA_MAX": "1"}  # each further one takes 64 MiB of addresses, used or not
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == count * n * sum(range(8))
