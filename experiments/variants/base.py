"""The servable that a variant is measured against: the run's own, as it was exported."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pnol_jax.errors import InputError
from pnol_jax.files import sha256_bytes
from pnol_jax.servable import Manifest, Servable, encode_weights, load_servable, read_manifest


def find_base(
    folders: Sequence[Path], weights: Mapping[str, Any], buckets: Sequence[Sequence[int]], run: Path
) -> Servable:
    """The newest version in the first folder with one of exactly these weights and buckets, which is no variant itself.

    Raises:
        InputError: there is none.
    """
    digest, sizes = sha256_bytes(encode_weights(weights)), {tuple(bucket) for bucket in buckets}

    def matches(manifest: Manifest) -> bool:
        same = manifest.files[manifest.weights] == digest and set(manifest.buckets) == sizes
        return same and manifest.optimised is None

    for folder in folders:
        versions = [path for path in folder.glob("*") if (path / "manifest.json").is_file() and path.name[0] != "."]
        for path in sorted(versions, key=lambda path: (path.name.isdigit(), len(path.name), path.name), reverse=True):
            if matches(read_manifest(path)):
                return load_servable(path)
    raise InputError(
        f"{' and '.join(map(str, folders))}: no version with the weights and buckets of {run} as it is now, expected "
        f"one to measure a variant against: python -m experiments.export {run}"
    )
