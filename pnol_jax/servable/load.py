"""Reading a servable: digests, manifest, weights, programs; compiled for a batch on demand; replayed before use."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.files import sha256_bytes
from pnol_jax.servable.manifest import Answers, Manifest, decode
from pnol_jax.servable.program import BAND, Arrays, argument_shapes, case_keys, flatten_operands, read_program
from pnol_jax.servable.vectors import SEED, Vector, crop, decode_vector, deviation, pad, smallest_bucket

Bucket = tuple[int, ...]
FIGURES = 20  # times the tolerance of a field: a rank among cases or a tail amplifies what rounding does
Program = Callable[..., dict[str, NDArray[Any]]]


@dataclass(frozen=True)
class Servable:
    """A servable whose files are what its manifest says. `digest` is that of the manifest, and so of everything."""

    manifest: Manifest
    digest: str
    weights: Arrays = field(repr=False)
    programs: Mapping[tuple[Bucket, Answers], export.Exported] = field(repr=False)
    vectors: tuple[Vector, ...] = field(repr=False)

    @property
    def has_band(self) -> bool:
        """Whether the moments come with a conformal band."""
        return BAND[0] in next(iter(self._results("moments")))

    def bucket(self, shape: tuple[int, ...]) -> Bucket:
        """The smallest bucket that a grid of this shape fits into."""
        return smallest_bucket(self.manifest.buckets, shape)

    def on(self, device: jax.Device) -> "Servable":
        """The same with its weights, and so what is compiled of it, on another device."""
        return replace(self, weights=jax.device_put(self.weights, device))

    def compile(self, bucket: Bucket, answer: Answers, batch: int) -> Program:
        """Compile a program for the weights' device and a batch size: `program(inputs, operands[, keys]) -> arrays`."""
        exported = self.programs[bucket, answer]
        shapes = argument_shapes(self.manifest.signature, self.weights, bucket, answer, batch)
        place = next((leaf.sharding for leaf in jax.tree.leaves(self.weights)), None)
        shapes = jax.tree.map(lambda leaf: leaf.update(sharding=place), shapes)
        compiled = jax.jit(exported.call).lower(*shapes).compile()

        def program(*arguments: Any) -> dict[str, NDArray[Any]]:
            return {name: np.asarray(array) for name, array in compiled(self.weights, *arguments).items()}

        return program

    def replay(self, program: Callable[[Bucket, Answers], Program] | None = None) -> None:
        """Ask every test vector in every bucket that it fits into and compare with what the model answered.

        Args:
            program: gives the program of a bucket and kind, compiled for a batch of 1; compiles it if not given.

        Raises:
            InputError: an answer differs by more than the manifest's tolerance.
        """
        for bucket, answer in self.programs:
            fitting = [v for v in self.vectors if all(n <= m for n, m in zip(v.grid.shape, bucket, strict=True))]
            if fitting:
                compiled = program(bucket, answer) if program else self.compile(bucket, answer, 1)
                for vector in fitting:
                    self._compare(vector, bucket, answer, compiled)

    def _compare(self, vector: Vector, bucket: Bucket, answer: Answers, program: Program) -> None:
        if answer == "samples" and bucket != self.bucket(vector.grid.shape):
            return
        operands = make_operands(vector.grid, self.manifest.signature.bases(), bucket)
        arguments = [pad(vector.inputs, bucket)[None], flatten_operands(stack_operands([operands]))]
        keys = [case_keys(SEED, 1)] if answer == "samples" else []
        scales = {figure.name: figure.scale for figure in self.manifest.signature.figures}
        for name, got in program(*arguments, *keys).items():
            expected = vector.expected.get(name, np.empty(0, np.float32))
            off = deviation(crop(got[0], vector.grid.shape), expected, scales.get(name))
            allowed = self.manifest.tolerance * (FIGURES if name in scales else 1)
            if off > allowed:
                raise InputError(
                    f"replay of a test vector of {vector.grid.shape} points in the bucket {bucket}: {name} deviates "
                    f"by {off:.2g} of its largest value, expected at most {allowed:.2g}"
                )

    def _results(self, answer: Answers) -> list[set[str]]:
        return [set(jax.tree.unflatten(p.out_tree, p.out_avals)) for (_, a), p in self.programs.items() if a == answer]


def load_servable(folder: str | os.PathLike[str]) -> Servable:
    """Read and verify a servable. Nothing in it is executed yet: `replay` does.

    Raises:
        InputError: files missing, unknown, linked or changed since they were written; a manifest of another schema;
            programs that do what a servable may not, or are not of the manifest's signature.
    """
    path = Path(folder)
    content = _read_files(path)
    text = content.pop("manifest.json", None)
    if text is None:
        raise InputError(f"servable {path}: no manifest.json")
    try:
        manifest = decode(text)
        _verify(manifest, content)
        return _assemble(manifest, sha256_bytes(text), content)
    except InputError as error:
        raise InputError(f"servable {path}: {error}") from None


def _read_files(path: Path) -> dict[str, bytes]:
    """Every file is read once, so that what was verified is what is used."""
    if not path.is_dir():
        raise InputError(f"servable {path}: no such folder")
    content = {}
    for entry in sorted(path.iterdir()):
        if entry.is_symlink() or not entry.is_file():
            raise InputError(f"servable {path}: {entry.name!r} is a folder or a link, expected files only")
        content[entry.name] = entry.read_bytes()
    return content


def _verify(manifest: Manifest, content: Mapping[str, bytes]) -> None:
    missing, unknown = set(manifest.files) - set(content), set(content) - set(manifest.files)
    if missing or unknown:
        raise InputError(f"files missing: {sorted(missing)}, files that the manifest does not know: {sorted(unknown)}")
    for name, expected in manifest.files.items():
        got = sha256_bytes(content[name])
        if got != expected:
            raise InputError(f"{name}: got SHA-256 {got}, expected {expected}; the file was changed")


def _assemble(manifest: Manifest, digest: str, content: Mapping[str, bytes]) -> Servable:
    signature = manifest.signature
    try:
        weights = load(content[manifest.weights])
    except SafetensorError as error:
        raise InputError(f"{manifest.weights}: {error}") from None
    programs = {
        (entry.bucket, entry.answer): read_program(
            content[entry.file], entry.file, signature, weights, entry.bucket, entry.answer
        )
        for entry in manifest.programs
    }
    vectors = tuple(decode_vector(content[name], name, signature) for name in manifest.tests)
    on_device: Arrays = jax.device_put(weights)
    servable = Servable(manifest, digest, on_device, programs, vectors)
    _check_band(servable)
    return servable


def _check_band(servable: Servable) -> None:
    names = servable._results("moments")
    if any(name != names[0] for name in names):
        raise InputError(f"programs: the buckets give different answers: {[sorted(name) for name in names]}")
    level = (servable.manifest.calibration or {}).get("level")
    if servable.has_band and not (isinstance(level, float) and 0 < level < 1):
        raise InputError(f"calibration.level: got {level!r}, expected a number between 0 and 1 since there is a band")
