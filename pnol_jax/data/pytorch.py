"""Tensors from a PyTorch file, without PyTorch and without letting the file run anything.

A file of `torch.save` is a zip archive with a pickle, `data.pkl`, and the bytes of each storage in `data/KEY`. The
pickle is read by an unpickler that knows four kinds of thing: dictionaries (plain and ordered), storages, and tensors
made from them. Whatever else it names is refused before it is looked up.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.errors import InputError

_STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


def _rebuild_tensor(
    storage: NDArray[Any], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    if math.prod(shape) > storage.size:
        raise pickle.UnpicklingError(f"a tensor of shape {shape} in a storage of {storage.size} numbers")
    size = storage.dtype.itemsize
    byte_strides = tuple(size * stride for stride in strides)
    view: NDArray[Any] = np.ndarray(shape, storage.dtype, storage.data, size * offset, byte_strides)
    return view.copy()


class _TensorUnpickler(pickle.Unpickler):
    """Builds tensors from the storages of one archive and nothing else."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which is neither a tensor nor a dictionary")

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or not str(key).isalnum():
            raise pickle.UnpicklingError(f"it names {pid!r}, which is not a storage")
        return np.frombuffer(self._archive.read(f"{self._root}/data/{key}"), dtype, count)


def read_tensors(data: bytes, where: str) -> dict[str, NDArray[Any]]:
    """The dictionary of tensors in a PyTorch file, as NumPy arrays of any shape.

    Raises:
        InputError: the file is damaged, or holds anything but tensors by name.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            roots = [name.removesuffix("/data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
            tensors = _TensorUnpickler(archive, roots[0]).load()
    except (pickle.UnpicklingError, zipfile.BadZipFile, ValueError, TypeError, LookupError, EOFError) as error:
        raise InputError(f"{where}: not a PyTorch file of tensors: {error}") from None
    if not isinstance(tensors, dict) or not all(isinstance(value, np.ndarray) for value in tensors.values()):
        raise InputError(f"{where}: got a {type(tensors).__name__}, expected tensors by name")
    return tensors
