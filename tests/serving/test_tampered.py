"""Whatever is done to a file of a new version, it is refused with a reason, and the version before goes on serving."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import msgspec
import pytest
from jax import export

from pnol_jax.errors import InputError
from pnol_jax.servable import load_servable
from pnol_jax.servable.manifest import decode
from pnol_jax.servable.program import argument_shapes
from serving.repository import Repository
from serving.settings import Settings
from tests import heat

MANIFEST = "manifest.json"


def truncated(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 2)  # and not only the end of a line


def halved(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def emptied(file: Path) -> None:
    os.truncate(file, 0)


def longer(file: Path) -> None:
    with file.open("ab") as end:
        end.write(b"\0")


def huge(file: Path) -> None:
    """More than any machine's memory, of which the disk holds little."""
    os.truncate(file, 2**43)


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x80  # which no text has
    file.write_bytes(content)


def linked(file: Path) -> None:
    file.rename(file.parents[1] / f".{file.name}")
    file.symlink_to(file.parents[1] / f".{file.name}")


def dangling(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.parent / "nowhere")


def device(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def pipe(file: Path) -> None:
    """Whoever opens it waits for ever."""
    file.unlink()
    os.mkfifo(file)


def missing(file: Path) -> None:
    file.unlink()


def another(file: Path) -> None:
    """That of another file of the same servable."""
    others = [other for other in sorted(file.parent.iterdir()) if other != file]
    shutil.copy(others[0], file)


TAMPERINGS = [
    truncated,
    halved,
    emptied,
    longer,
    huge,
    flipped,
    linked,
    dangling,
    device,
    folder,
    pipe,
    missing,
    another,
]


class Models:
    """`line/1`, which answers, and a second version as it was written."""

    def __init__(self, folder: Path) -> None:
        self.whole = heat.write(folder / "aside", "line", "2", axes=1)
        self.second = heat.write(folder / "models", "line", "1", axes=1).parent / "2"
        settings = Settings(str(folder / "models"), batch_sizes=(1,), samples_batch_sizes=(1,), poll_seconds=0)
        self.repository = Repository(settings)
        self.repository.load()

    def refused(self, tamper: Callable[[Path], object], file: str) -> str:
        """Why a second version is refused of which a file was tampered with; the first one answers as before."""
        before = self.repository.find("line")
        shutil.rmtree(self.second, ignore_errors=True)
        self.repository.load()
        shutil.copytree(self.whole, self.second)
        tamper(self.second / file)
        self.repository.load()
        entry = self.repository.catalogue.table["line", "2"]
        assert entry.state == "failed"
        assert self.repository.find("line") is before
        return str(entry.error)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    models = Models(tmp_path_factory.mktemp("models"))
    yield models
    models.repository.stop()


@pytest.mark.parametrize("tamper", TAMPERINGS)
def test_a_file_of_any_kind_is_refused_by_name(models: Models, tamper: Callable[[Path], None]) -> None:
    files = sorted(file.name for file in models.whole.iterdir())
    assert MANIFEST in files
    assert len(files) >= 5
    for file in files:
        assert file in models.refused(tamper, file)


def test_the_untouched_version_is_not(models: Models) -> None:
    load_servable(models.whole).replay()


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def tamper(file: Path) -> None:
        manifest = json.loads(file.read_text())
        change(manifest)
        file.write_text(json.dumps(manifest))

    return tamper


def renamed(to: str) -> Callable[[Path], None]:
    """The weights are said to stand elsewhere, where there are some."""

    def change(manifest: dict[str, Any]) -> None:
        for table in ("files", "sizes"):
            manifest[table][to] = manifest[table].pop("weights.safetensors")
        manifest["weights"] = to

    def tamper(file: Path) -> None:
        changed(change)(file)
        os.replace(file.parent / "weights.safetensors", file.parents[1] / ".weights")

    return tamper


def called(file: Path) -> None:
    """A program that calls a function of the runtime, its digest set right."""
    servable = load_servable(file.parent)
    [bucket] = servable.manifest.buckets

    def program(weights: Any, inputs: Any, operands: Any) -> Any:
        mean = jax.ffi.ffi_call("system", jax.ShapeDtypeStruct(inputs.shape, inputs.dtype))(inputs)
        return {"mean": mean, "aleatoric": mean, "epistemic": mean}

    shapes = argument_shapes(servable.manifest.signature, servable.weights, bucket, "moments", 1)
    checks = [export.DisabledSafetyCheck.custom_call("system")]
    content = bytes(export.export(jax.jit(program), disabled_checks=checks)(*shapes).serialize())
    name = "program-16-moments.bin"
    (file.parent / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    changed(lambda m: (m["files"].update({name: digest}), m["sizes"].update({name: len(content)})))(file)


MANIFESTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a wrong digest": (changed(lambda m: m["files"].update({"weights.safetensors": "0" * 64})), "got SHA-256"),
    "a path upwards": (renamed("../.weights"), "file: got '../.weights'"),
    "an absolute path": (renamed("/etc/passwd"), "file: got '/etc/passwd'"),
    "a path with a NUL": (renamed("weights\0"), "file: got 'weights\\x00'"),
    "another format's version": (changed(lambda m: m.update(schema_version=99)), "got schema_version 99, expected 1"),
    "another version's name": (changed(lambda m: m.update(version="1")), "its manifest says line/1"),
    "a huge number": (changed(lambda m: m.update(num_samples=10**400)), "expected 6, which the programs draw"),
    "a negative size": (changed(lambda m: m["sizes"].update({"weights.safetensors": -1})), "expected -1"),
    "a million lists": (lambda file: file.write_bytes(b"[" * 10**6), "manifest.json"),
    "a function of the runtime": (called, "custom call 'system' is not allowed"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_lies_is_refused(models: Models, case: str) -> None:
    tamper, message = MANIFESTS[case]
    assert message in models.refused(tamper, MANIFEST)


def test_no_flipped_bit_of_a_manifest_is_more_than_refused_or_another_manifest(models: Models) -> None:
    """It holds the digests of all else; who flips its bits may write it anew, and its own digest is another one."""
    text = (models.whole / MANIFEST).read_bytes()
    whole, refused, other = decode(text), 0, 0
    for place in range(len(text)):
        damaged = bytearray(text)
        damaged[place] ^= 1 << (place % 8)
        try:
            other += msgspec.json.encode(decode(bytes(damaged))) != msgspec.json.encode(whole)
        except InputError:
            refused += 1
    assert refused > 0
    assert other > 0
