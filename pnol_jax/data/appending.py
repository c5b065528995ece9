"""A `.npy` file to which arrays are appended one at a time: their number need not be known, nor held in memory."""

import os
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray


class AppendedArray:
    """Writes (n, ...) entry by entry: byte for byte what `numpy.save` writes. On the disk when it is closed.

    NumPy leaves room in the header for the first axis to grow, and so it can be written again at the end.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._entry: tuple[np.dtype[Any], tuple[int, ...]] | None = None
        self._count = 0

    def append(self, entry: NDArray[Any]) -> None:
        """Write one more entry.

        Raises:
            ValueError: its shape or type is not that of the ones before.
        """
        array = np.ascontiguousarray(entry).reshape(np.shape(entry))
        if self._entry is None:
            self._entry = (array.dtype, array.shape)
            self._write_header()
        if (array.dtype, array.shape) != self._entry:
            raise ValueError(f"{self._file.name}: got {array.dtype} {array.shape}, expected {self._entry} as before")
        self._file.write(array.data)
        self._count += 1

    def _write_header(self) -> None:
        assert self._entry is not None
        dtype, shape = self._entry
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (self._count, *shape)}
        npy.write_array_header_1_0(self._file, header)

    def close(self) -> None:
        """Write the final number of entries and flush to the disk."""
        if self._entry is not None:
            self._file.seek(0)
            self._write_header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()
