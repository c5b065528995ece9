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

from pnol_jax.bases import make_operands, stack_operands
from pnol_jax.errors import InputError
from pnol_jax.servable.exported import read_program
from pnol_jax.servable.manifest import Answers, Manifest
from pnol_jax.servable.program import BAND, KEYED, Arrays, argument_shapes, flatten_operands
from pnol_jax.servable.read import read_files
from pnol_jax.servable.vectors import Vector, beside, crop, decode_vector, deviation, pad, smallest_bucket
from pnol_jax.servable.weights import decode_weights

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
        """Compile a program for the weights' device and a batch size: `program(inputs, operands[, own]) -> arrays`."""
        compiled = self.executable(bucket, answer, batch)

        def program(*arguments: Any) -> dict[str, NDArray[Any]]:
            return {name: np.asarray(array) for name, array in compiled(self.weights, *arguments).items()}

        return program

    def executable(self, bucket: Bucket, answer: Answers, batch: int) -> jax.stages.Compiled:
        """The same as JAX has it, with the weights as its first argument and arrays of the device as its answers."""
        exported = self.programs[bucket, answer]
        signature, draws = self.manifest.signature, self.manifest.num_samples
        shapes = argument_shapes(signature, self.weights, bucket, answer, batch, draws)
        place = next((leaf.sharding for leaf in jax.tree.leaves(self.weights)), None)
        shapes = jax.tree.map(lambda leaf: leaf.update(sharding=place), shapes)
        return jax.jit(exported.call).lower(*shapes).compile()

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
        if answer in KEYED and bucket != self.bucket(vector.grid.shape):
            return
        operands = make_operands(vector.grid, self.manifest.signature.bases(), bucket)
        arguments = [pad(vector.inputs, bucket)[None], flatten_operands(stack_operands([operands]))]
        own = beside(vector.inputs, vector.expected, answer, self.manifest.num_samples, bucket)
        scales = {figure.name: figure.scale for figure in self.manifest.signature.figures}
        for name, got in program(*arguments, *own).items():
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
    try:
        return assemble(*read_files(path))
    except InputError as error:
        raise InputError(f"servable {path}: {error}") from None


def assemble(manifest: Manifest, digest: str, content: Mapping[str, bytes]) -> Servable:
    """The servable in the contents of its files, by name, of which the digests were compared.

    Raises:
        InputError: a file is not what the manifest says that it is.
    """
    signature = manifest.signature
    weights = decode_weights(content[manifest.weights], manifest.weights)
    programs = {
        (entry.bucket, entry.answer): read_program(
            content[entry.file], entry.file, signature, weights, entry.bucket, entry.answer, manifest.num_samples
        )
        for entry in manifest.programs
    }
    vectors = tuple(decode_vector(content[name], name, signature) for name in manifest.tests)
    on_device: Arrays = jax.device_put(weights)
    servable = Servable(manifest, digest, on_device, programs, vectors)
    _check_band(servable)
    _check_draws(servable)
    return servable


def _check_band(servable: Servable) -> None:
    names = servable._results("moments")
    if any(name != names[0] for name in names):
        raise InputError(f"programs: the buckets give different answers: {[sorted(name) for name in names]}")
    level = (servable.manifest.calibration or {}).get("level")
    if servable.has_band and not (isinstance(level, float) and 0 < level < 1):
        raise InputError(f"calibration.level: got {level!r}, expected a number between 0 and 1 since there is a band")


def _check_draws(servable: Servable) -> None:
    stated = servable.manifest.num_samples
    for (_, answer), program in servable.programs.items():
        if answer == "samples":
            made = jax.tree.unflatten(program.out_tree, program.out_avals)["samples"].shape[1]
            if made != stated:
                raise InputError(f"num_samples: got {stated}, expected {made}, which the programs draw")
