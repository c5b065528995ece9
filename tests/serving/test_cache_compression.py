"""Packed arrays come back bit for bit, in fewer bytes or as they were."""

import numpy as np
import pytest
from numpy.typing import NDArray

from serving.cache.compression import LARGEST, SMALLEST, WORTH, Packed, pack, unpack


def smooth(n: int = 64) -> NDArray[np.float32]:
    x = np.linspace(0, 1, n)
    return np.multiply.outer(np.sin(3 * x), np.cos(2 * x)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_smooth_fields_take_fewer_bytes_and_come_back_bit_for_bit(dtype: type) -> None:
    field = (1000 * smooth()).astype(dtype)
    for array in (field, field.T, field[::2, 1:], field.reshape(1, 64, 64, 1)):
        packed = pack(array)
        assert isinstance(packed, Packed)
        assert packed.nbytes <= (1 - WORTH) * array.nbytes
        back = unpack(packed)
        assert (back.shape, back.dtype) == (array.shape, array.dtype)
        assert back.tobytes() == np.ascontiguousarray(array).tobytes()
        assert not back.flags.writeable


def test_what_is_no_number_keeps_its_bits() -> None:
    field = smooth()
    bits = field.view(np.uint32)
    bits[0, :4] = [0x7FC00001, 0xFFC12345, 0x80000000, 0x00000001]  # two NaNs, minus zero, the smallest number
    np.testing.assert_array_equal(unpack(pack(field)).view(np.uint32), bits)


def test_what_would_save_little_is_left_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 2**32, 4096, np.uint32)
    few, many = np.zeros(SMALLEST - 1, np.uint8), np.zeros(LARGEST + 1, np.uint8)
    for array in (noise, few, many, np.zeros((0, 3))):
        assert pack(array) is array
        assert unpack(array) is array
