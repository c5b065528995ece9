"""Opening an HDF5 file."""

from pathlib import Path
from typing import Any

from pnol_jax.errors import InputError


def open_hdf5(path: Path) -> Any:
    """The file, an `h5py.File`, for reading.

    Raises:
        InputError: h5py is not installed, or it is no HDF5 file.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{path}: HDF5 files need h5py, which is not installed: pip install 'pnol-jax[hdf5]'"
        ) from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file: {error}") from None
