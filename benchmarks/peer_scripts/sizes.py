"""The problem sizes at which training and forward passes are timed. Both sides of the comparison read this table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """A grid, a batch and an operator: one channel in, one out, four layers, all else as neuraloperator has it.

    `modes` counts both signs on every axis but the last, of which modes // 2 + 1 are kept.
    """

    points: tuple[int, ...]
    modes: tuple[int, ...]
    width: int
    batch: int


SIZES = {
    "1d_1024": Size(points=(1024,), modes=(64,), width=64, batch=32),
    "2d_64": Size(points=(64, 64), modes=(32, 32), width=32, batch=16),
    "2d_128": Size(points=(128, 128), modes=(32, 32), width=32, batch=8),
    "3d_32": Size(points=(32, 32, 32), modes=(16, 16, 16), width=24, batch=4),
}
