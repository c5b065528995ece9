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
from pnol_jax.servable.load import Servable, assemble, load_servable
from pnol_jax.servable.manifest import SCHEMA_VERSION, Manifest, ProgramEntry, Signature, check_name, encode
from pnol_jax.servable.program import Arrays, Functional, Predict, export_program, functionals, moments, samples
from pnol_jax.servable.vectors import encode_vector, record
from pnol_jax.servable.weights import encode_weights

TOLERANCE = 1e-3  # of the largest value
WEIGHTS = "weights.safetensors"


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
) -> Path:
    """Write `folder/name/version/` and return its path; it appears whole, verified and replayed, or not at all.

    `predict` is the posterior's, with operands per case and `num_samples` a static keyword; `weights` its state, a flat
    dict of arrays. `buckets` are the numbers of points per axis up to which grids can be asked, `num_samples` the draws
    that can be had if the signature's answers name "samples". `tests`, at least one, are cases to replay: inputs
    (*space, input channels) and their grid. `calibration` is the guarantee of the band, with its `level`, if the
    predictive has one, `alarm` what its figure "ood" does; `provenance` says where the model comes from; `tolerance` is
    the largest deviation in a replay, relative to the largest value. `functional`, where the model knows linear
    functionals exactly, gives them, and the signature's answers then name "functional". `optimised` gives the record of
    a variant, and is asked about the servable before any of it is written.

    Raises:
        InputError: the version exists, a name could leave the folder, there are no tests, functionals in one of
            signature and arguments only, a bucket is too small for the modes, or the written programs do not reproduce
            the model, padding included.
    """
    target = Path(folder) / check_name(name, "servable name") / check_name(version, "servable version")
    if target.exists():
        raise InputError(f"servable {target} exists already and a version is never overwritten; expected a new version")
    if not tests:
        raise InputError("servable: got no tests, expected at least one case to replay")
    if (functional is not None) != ("functional" in signature.answers):
        raise InputError(
            f"servable: got {'a' if functional else 'no'} functional, expected one if and only if the signature's "
            f"answers, {list(signature.answers)}, name it"
        )
    arrays = {key: np.ascontiguousarray(value) for key, value in weights.items()}
    sizes = tuple(tuple(int(n) for n in bucket) for bucket in buckets)
    vectors = [record(predict, arrays, signature, sizes, num_samples, case, functional) for case in tests]
    recorded = {f"test-{i}.safetensors": encode_vector(vector) for i, vector in enumerate(vectors)}
    table = {"moments": moments(predict), "samples": samples(predict, num_samples)}
    if functional is not None:
        table["functional"] = functionals(functional)
    programs = _programs(table, arrays, signature, sizes)
    files = {WEIGHTS: encode_weights(arrays), **recorded, **{entry.file: data for entry, data in programs}}
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        version=version,
        signature=signature,
        buckets=sizes,
        num_samples=num_samples,
        weights=WEIGHTS,
        programs=tuple(entry for entry, _ in programs),
        tests=tuple(recorded),
        tolerance=tolerance,
        calibration=calibration,
        provenance=provenance,
        written_with={
            package: importlib.metadata.version(package) for package in ("jax", "jaxlib", "numpy", "safetensors")
        },
        files={file: sha256_bytes(content) for file, content in sorted(files.items())},
        alarm=alarm,
        sizes={file: len(content) for file, content in sorted(files.items())},
    )
    if optimised is not None:
        whole = assemble(manifest, sha256_bytes(encode(manifest)), files)
        manifest = structs.replace(manifest, optimised=optimised(whole))
    _place(target, {**files, "manifest.json": encode(manifest)})
    return target


def _programs(
    table: Mapping[str, Any], weights: Arrays, signature: Signature, buckets: Sequence[tuple[int, ...]]
) -> list[tuple[ProgramEntry, bytes]]:
    programs = []
    for bucket in buckets:
        for answer in signature.answers:
            file = f"program-{'x'.join(map(str, bucket))}-{answer}.bin"
            data = export_program(table[answer], signature, weights, bucket, answer)
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
