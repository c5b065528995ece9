"""What a servable says of itself: the signature of its function and the digests of its files."""

import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from pnol_jax.bases import Basis, BasisKind
from pnol_jax.errors import InputError
from pnol_jax.grids import Axis, Grid, Kind, Placement

SCHEMA_VERSION = 1
Answers = Literal["moments", "samples", "functional"]
FIELDS = ("mean", "std", "aleatoric", "epistemic", "lower", "upper", "samples")  # names of answers that are fields
# Names of answers that a caller's own levels, thresholds and weights make.
FUNCTIONAL = ("functional.mean", "functional.std", "functional.tail", "functional.exceedance")
DERIVED = ("quantiles", "exceedance", *FUNCTIONAL)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the manifest; unknown fields are errors."""


class Channel(Part, frozen=True):
    """A channel of the inputs or outputs."""

    name: str
    unit: str = ""


class Figure(Channel, frozen=True):
    """A number that is said of each case, by the program of an answer.

    `scale`: how large it may be; a deviation in a replay is a share of that.
    """

    scale: float = 1.0
    answer: Literal["moments", "samples"] = "moments"


class BasisSignature(Part, frozen=True):
    """The basis of an axis, as in `pnol_jax.bases.Basis`."""

    kind: BasisKind
    modes: int
    padding: float = 1.25
    ridge: float = 1e-4


class AxisSignature(Part, frozen=True):
    """A space axis: its extent in its unit, the default placement of points on it, its basis."""

    name: str
    unit: str
    kind: Kind
    length: float
    basis: BasisSignature
    placement: Placement = "left"


class Signature(Part, frozen=True):
    """The function that is served: inputs (*space, input channels) -> outputs (*space, output channels).

    `answers`: what can be asked for; "moments" always, "functional" where a caller's functionals are known exactly.
    `time_step`: set where the function maps a state to the state one step later. `levels`: of the quantiles that the
    moments come with, if they state any. `figures`: what else an answer says of each case, one number by name.
    """

    inputs: tuple[Channel, ...]
    outputs: tuple[Channel, ...]
    axes: tuple[AxisSignature, ...]
    method: str
    answers: tuple[Answers, ...] = ("moments",)
    time_step: float | None = None
    levels: tuple[float, ...] = ()
    figures: tuple[Figure, ...] = ()

    def __post_init__(self) -> None:
        if not self.outputs or not 1 <= len(self.axes) <= 3:
            raise InputError(
                f"signature: got {len(self.outputs)} output channels and {len(self.axes)} axes, "
                "expected at least 1 channel and 1 to 3 axes"
            )
        if "moments" not in self.answers or len(set(self.answers)) != len(self.answers):
            raise InputError(f"signature.answers: got {list(self.answers)}, expected 'moments', perhaps others")
        taken = {*FIELDS, *DERIVED}
        if len(set(self.figure_names) - taken) != len(self.figures):
            raise InputError(
                f"signature.figures: got {self.figure_names}, expected each once, and none of {sorted(taken)}"
            )
        if any(figure.answer not in self.answers for figure in self.figures):
            raise InputError(f"signature.figures: got some of 'samples', expected answers among {list(self.answers)}")

    @property
    def figure_names(self) -> tuple[str, ...]:
        """The names of the figures."""
        return tuple(figure.name for figure in self.figures)

    def figures_of(self, answer: Answers) -> tuple[str, ...]:
        """The names of the figures that an answer gives."""
        return tuple(figure.name for figure in self.figures if figure.answer == answer)

    def bases(self) -> tuple[Basis, ...]:
        """The bases of the axes."""
        return tuple(Basis(b.kind, b.modes, b.padding, b.ridge) for b in (axis.basis for axis in self.axes))

    def uniform_grid(self, shape: Sequence[int]) -> Grid:
        """The grid of `shape` equally spaced points, placed as each axis says."""
        self._check_axes(len(shape), "shape")
        return Grid(
            tuple(Axis.uniform(n, a.kind, a.length, a.placement) for n, a in zip(shape, self.axes, strict=True))
        )

    def grid(self, coordinates: Sequence[Any]) -> Grid:
        """The grid of the given coordinates, one (n,) sequence per axis, in the axes' units."""
        self._check_axes(len(coordinates), "coordinates")
        points = [tuple(np.asarray(x, np.float64).tolist()) for x in coordinates]
        return Grid(tuple(Axis(a.kind, a.length, x) for x, a in zip(points, self.axes, strict=True)))

    def accepts(self, grid: Grid) -> bool:
        """Whether the grid lies on these axes."""
        ours = [(axis.kind, axis.length) for axis in self.axes]
        return ours == [(axis.kind, axis.length) for axis in grid.axes]

    def _check_axes(self, count: int, what: str) -> None:
        if count != len(self.axes):
            names = ", ".join(axis.name for axis in self.axes)
            raise InputError(f"{what}: got {count} axes, expected {len(self.axes)} ({names})")


class ProgramEntry(Part, frozen=True):
    """One compiled-from program: the bucket and the kind of answer it computes."""

    bucket: tuple[int, ...]
    answer: Answers
    file: str


class Manifest(Part, frozen=True):
    """`manifest.json`.

    `files`: the SHA-256 of every other file; `tolerance`: of the tests, relative to the largest value; `calibration`:
    what the band promises; `alarm`: what the figure "ood" does; `sizes`: the bytes of every other file, so that one
    that has grown need not be read to be refused; `optimised`: of a variant, what was done to which version, and what
    that lost and gained.
    """

    schema_version: int
    name: str
    version: str
    signature: Signature
    buckets: tuple[tuple[int, ...], ...]
    num_samples: int
    weights: str
    programs: tuple[ProgramEntry, ...]
    tests: tuple[str, ...]
    tolerance: float
    calibration: dict[str, Any] | None
    provenance: dict[str, Any]
    written_with: dict[str, str]
    files: dict[str, str]
    alarm: dict[str, Any] | None = None
    sizes: dict[str, int] = {}  # empty in servables that were written without
    optimised: dict[str, Any] | None = None


def check_name(name: str, what: str) -> str:
    """A model name, a version or a file name: letters, digits and `._-`, so that it cannot leave its folder."""
    if not _NAME.fullmatch(name):
        raise InputError(f"{what}: got {name!r}, expected 1 to 64 letters, digits or . _ -, not starting with . _ or -")
    return name


def encode(manifest: Manifest) -> bytes:
    """The bytes of `manifest.json`."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(data: bytes) -> Manifest:
    """The manifest in the bytes of a `manifest.json`.

    Raises:
        InputError: no JSON, another schema version, an unknown or missing or ill-typed field, a name that could leave
            the folder, a file without a digest, programs that do not cover the buckets.
    """
    try:
        version = msgspec.json.decode(data, type=dict[str, Any]).get("schema_version")
        if version != SCHEMA_VERSION:
            raise InputError(f"manifest.json: got schema_version {version!r}, expected {SCHEMA_VERSION}")
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InputError(f"manifest.json: {error}") from None
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    check_name(manifest.name, "manifest.json: name")
    check_name(manifest.version, "manifest.json: version")
    named = {manifest.weights, *manifest.tests, *(program.file for program in manifest.programs)}
    for file in named | set(manifest.files):
        check_name(file, "manifest.json: file")
    if named != set(manifest.files):
        raise InputError(f"manifest.json: files: got digests of {sorted(manifest.files)}, expected {sorted(named)}")
    if manifest.sizes and set(manifest.sizes) != named:
        raise InputError(f"manifest.json: sizes: got those of {sorted(manifest.sizes)}, expected {sorted(named)}")
    _check_buckets(manifest.buckets, manifest.signature)
    have = [(program.bucket, program.answer) for program in manifest.programs]
    expected = [(bucket, answer) for bucket in manifest.buckets for answer in manifest.signature.answers]
    if sorted(have) != sorted(expected):
        raise InputError(f"manifest.json: programs: got {sorted(have)}, expected {sorted(expected)}")


def _check_buckets(buckets: Sequence[Sequence[int]], signature: Signature) -> None:
    bases = signature.bases()
    for bucket in buckets:
        if len(bucket) != len(bases):
            raise InputError(f"buckets: got {list(bucket)}, expected {len(bases)} numbers, one per axis")
        for n, basis in zip(bucket, bases, strict=True):
            if n < basis.least_points:
                raise InputError(
                    f"buckets: {list(bucket)}: {basis.modes} modes need at least {basis.least_points} points"
                )
    if not buckets or len({tuple(bucket) for bucket in buckets}) != len(buckets):
        raise InputError(f"buckets: got {[list(bucket) for bucket in buckets]}, expected at least one, each once")
