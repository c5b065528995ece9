"""The files of a servable: which there are, and that each is what the manifest says."""

from collections.abc import Mapping
from pathlib import Path

from pnol_jax.errors import InputError
from pnol_jax.files import sha256_bytes
from pnol_jax.servable.manifest import Manifest, decode

MANIFEST, MAX_MANIFEST = "manifest.json", 2**24  # bytes


def read_files(path: Path) -> tuple[Manifest, str, dict[str, bytes]]:
    """The manifest in a folder, its digest, and the bytes of every other file.

    Raises:
        InputError: files missing, unknown, linked or changed since they were written; a manifest of another schema.
    """
    found = _find_files(path)
    text = _read_manifest(path, found.pop(MANIFEST, None))
    manifest = decode(text)
    _check_files(manifest, found)
    content = {name: _verified(path / name, found[name], digest) for name, digest in manifest.files.items()}
    return manifest, sha256_bytes(text), content


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a servable, whose other files are not looked at.

    Raises:
        InputError: it is none.
    """
    try:
        file = folder / MANIFEST
        return decode(_read_manifest(folder, file.stat().st_size if file.is_file() else None))
    except InputError as error:
        raise InputError(f"servable {folder}: {error}") from None


def _find_files(path: Path) -> dict[str, int]:
    """The files in the folder and their sizes."""
    if not path.is_dir():
        raise InputError("no such folder")
    for entry in sorted(path.iterdir()):
        if entry.is_symlink() or not entry.is_file():
            raise InputError(f"{entry.name!r} is a folder or a link, expected files only")
    return {entry.name: entry.stat().st_size for entry in path.iterdir()}


def _read_manifest(path: Path, size: int | None) -> bytes:
    if size is None:
        raise InputError(f"no {MANIFEST}")
    if size > MAX_MANIFEST:
        raise InputError(f"{MANIFEST}: got {size} bytes, expected at most {MAX_MANIFEST}")
    return _read(path / MANIFEST, size)


def _check_files(manifest: Manifest, found: Mapping[str, int]) -> None:
    missing, unknown = set(manifest.files) - set(found), set(found) - set(manifest.files)
    if missing or unknown:
        raise InputError(f"files missing: {sorted(missing)}, files that the manifest does not know: {sorted(unknown)}")
    for name, expected in manifest.sizes.items():
        if found[name] != expected:
            raise InputError(f"{name}: got {found[name]} bytes, expected {expected}; the file was changed")


def _verified(path: Path, size: int, expected: str) -> bytes:
    """Every file is read once, so that what was verified is what is used."""
    content = _read(path, size)
    got = sha256_bytes(content)
    if got != expected:
        raise InputError(f"{path.name}: got SHA-256 {got}, expected {expected}; the file was changed")
    return content


def _read(path: Path, size: int) -> bytes:
    """The file, of which no more is read than it had when it was found."""
    with path.open("rb") as file:
        return file.read(size)
