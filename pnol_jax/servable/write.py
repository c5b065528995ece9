"""Writing a servable: programs, weights and test vectors aside, then the whole folder renamed into its place."""

import importlib.metadata
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from pnol_jax.errors import InputError
from pnol_jax.files import sha256_bytes, sync_folder, write_atomically
from pnol_jax.grids import Grid
from pnol_jax.servable.derivatives import jvp, vjp
from pnol_jax.servable.exported import export_program
from pnol_jax.servable.load import Servable, assemble, load_servable
from pnol_jax.servable.manifest import SCHEMA_VERSION, Answers, Manifest, ProgramEntry, Signature, check_name, encode
from pnol_jax.servable.march import Advance, stepping
from pnol_jax.servable.program import Arrays, Functional, Predict, functionals, moments, samples
from pnol_jax.servable.vectors import encode_vector, record
from pnol_jax.servable.weights import encode_weights

LEAST_DRAWS = 2  # which have a deviation
TOLERANCE = 1e-3  # of the largest value
WEIGHTS = "weights.safetensors"
PACKAGES = ("jax", "jaxlib", "numpy", "safetensors")  # whose versions are told
Table = dict[Answers, Callable[..., Arrays]]


def write_servable(
    folder: str | os.PathLike[str],
    name: str,
    version: str,
    *,
    predict: Predict,
    weights: Mapping[str, Any],
    signature: Signature,
    buckets: Sequence[Sequence[int]],
    num_samples: int,
    tests: Sequence[tuple[NDArray[Any], Grid]],
    calibration: dict[str, Any] | None,
    provenance: dict[str, Any],
    tolerance: float = TOLERANCE,
    alarm: dict[str, Any] | None = None,
    optimised: Callable[[Servable], dict[str, Any]] | None = None,
    functional: Functional | None = None,
    advance: Advance | None = None,
) -> Path:
    """Write `folder/name/version/` and return its path; it appears whole, verified and replayed, or not at all.

    `predict` is the posterior's, with operands per case and `num_samples` a static keyword; `weights` its state, a flat
    dict of arrays. `buckets` are the numbers of points per axis up to which grids can be asked, `num_samples` the draws
    that can be had if the signature's answers name "samples". `tests`, at least one, are cases to replay: inputs
    (*space, input channels) and their grid. `calibration` is the guarantee of the band, with its `level`, if the
    predictive has one, `alarm` what its figure "ood" does; `provenance` says where the model comes from; `tolerance` is
    the largest deviation in a replay, relative to the largest value. `functional`, where the model knows linear
    functionals exactly, gives them, and the signature's answers then name "functional". `advance` takes a step of all
    draws, where they name "step". `optimised` gives the record of a variant, and is asked about the servable before any
    of it is written.

    Raises:
        InputError: the version exists, a name could leave the folder, there are no tests, functionals in one of
            signature and arguments only, a bucket is too small for the modes, or the written programs do not reproduce
            the model, padding included.
    """
    target = Path(folder) / check_name(name, "servable name") / check_name(version, "servable version")
    _check(target, tests, signature, num_samples, functional, advance)
    sizes = tuple(tuple(int(n) for n in bucket) for bucket in buckets)
    table = _table(predict, num_samples, functional, advance)
    programs, vectors, files = _contents(table, weights, signature, sizes, num_samples, tests)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        version=version,
        signature=signature,
        buckets=sizes,
        num_samples=num_samples,
        weights=WEIGHTS,
        programs=programs,
        tests=vectors,
        tolerance=tolerance,
        calibration=calibration,
        provenance=provenance,
        written_with={package: importlib.metadata.version(package) for package in PACKAGES},
        files={file: sha256_bytes(content) for file, content in sorted(files.items())},
        alarm=alarm,
        sizes={file: len(content) for file, content in sorted(files.items())},
    )
    if optimised is not None:
        whole = assemble(manifest, sha256_bytes(encode(manifest)), files)
        manifest = structs.replace(manifest, optimised=optimised(whole))
    _place(target, {**files, "manifest.json": encode(manifest)})
    return target


def _check(
    target: Path,
    tests: Sequence[Any],
    signature: Signature,
    num_samples: int,
    functional: Functional | None,
    advance: Advance | None,
) -> None:
    if target.exists():
        raise InputError(f"servable {target} exists already and a version is never overwritten; expected a new version")
    if not tests:
        raise InputError("servable: got no tests, expected at least one case to replay")
    if (functional is not None) != ("functional" in signature.answers):
        raise InputError(
            f"servable: got {'a' if functional else 'no'} functional, expected one if and only if the signature's "
            f"answers, {list(signature.answers)}, name it"
        )
    if "step" in signature.answers and (advance is None or num_samples < LEAST_DRAWS):
        raise InputError(
            f"servable: got {num_samples} draws {'without' if advance is None else 'with'} `advance`, expected it and "
            f"at least {LEAST_DRAWS}, since the answers name 'step'"
        )


def _contents(
    table: Table,
    weights: Mapping[str, Any],
    signature: Signature,
    buckets: Sequence[tuple[int, ...]],
    num_samples: int,
    tests: Sequence[tuple[NDArray[Any], Grid]],
) -> tuple[tuple[ProgramEntry, ...], tuple[str, ...], dict[str, bytes]]:
    """The entries of the programs, the names of the test vectors, and all files but the manifest."""
    arrays = {name: np.ascontiguousarray(value) for name, value in weights.items()}
    vectors = [record(table, arrays, signature, buckets, num_samples, case) for case in tests]
    recorded = {f"test-{i}.safetensors": encode_vector(vector) for i, vector in enumerate(vectors)}
    programs = _programs(table, arrays, signature, buckets, num_samples)
    files = {WEIGHTS: encode_weights(arrays), **recorded, **{entry.file: data for entry, data in programs}}
    return tuple(entry for entry, _ in programs), tuple(recorded), files


def _table(predict: Predict, num_samples: int, functional: Functional | None, advance: Advance | None) -> Table:
    """The function of each kind of answer."""
    table: Table = {
        "moments": moments(predict),
        "samples": samples(predict, num_samples),
        "jvp": jvp(predict),
        "vjp": vjp(predict),
    }
    if functional is not None:
        table["functional"] = functionals(functional)
    if advance is not None:
        table["step"] = stepping(advance)
    return table


def _programs(
    table: Table, weights: Arrays, signature: Signature, buckets: Sequence[tuple[int, ...]], num_samples: int
) -> list[tuple[ProgramEntry, bytes]]:
    programs = []
    for bucket in buckets:
        for answer in signature.answers:
            file = f"program-{'x'.join(map(str, bucket))}-{answer}.bin"
            data = export_program(table[answer], signature, weights, bucket, answer, num_samples)
            programs.append((ProgramEntry(bucket, answer, file), data))
    return programs


def _place(target: Path, files: Mapping[str, bytes]) -> None:
    """Write the files aside, load and replay what was written, and rename the folder to its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        for file, content in files.items():
            write_atomically(aside / file, content)
        load_servable(aside).replay()
        os.chmod(aside, 0o755)
        os.rename(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    sync_folder(target.parent)
