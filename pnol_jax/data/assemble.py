"""From the named arrays of a file to a group of cases: which axis is what, coordinates, points kept, time steps."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pnol_jax.data.cases import CaseGroup
from pnol_jax.data.columns import Column, Stored
from pnol_jax.data.fields import Field, LazyField, loaded
from pnol_jax.data.spec import SourceSpec, make_axis, parse_select
from pnol_jax.errors import InputError
from pnol_jax.grids import Grid


@dataclass(frozen=True)
class Contents:
    """What a file holds.

    `arrays` by name, the first axis of each counting the cases; `coordinates` of space axes by position; `times` of
    the trajectories' states; `origin`, a digest of the file.
    """

    path: str
    arrays: Mapping[str, Stored]
    origin: str
    coordinates: Mapping[int, NDArray[Any]] = field(default_factory=dict)
    times: NDArray[Any] | None = None


@dataclass(frozen=True)
class _Frame:
    """What the arrays of one file share."""

    cases: int
    times: slice
    space: tuple[int, ...]
    cut: tuple[slice, ...]
    dtype: str
    in_memory: bool


def unknown_name(path: str, name: str, names: Mapping[str, Any]) -> InputError:
    """The error for an array that a file does not hold, with the nearest names that it does."""
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return InputError(f"{path}: no array {name!r}; {hint}the arrays there are {', '.join(map(repr, names)) or 'none'}")


def assemble(contents: Contents, spec: SourceSpec) -> CaseGroup:
    """The cases of one file. Large fields stay on the disk, and all where not even small ones are to be in memory.

    An output is (cases, *space) or (cases, *space, channels), with a `time_step` (cases, times, *space) or
    (cases, times, *space, channels); an input has no times; an input of shape (cases,) is a constant function.

    Raises:
        InputError: a name that is not there, shapes that do not fit, coordinates that do not fit, NaN.
    """
    missing = [name for name in (*spec.inputs, *spec.outputs) if name not in contents.arrays]
    if missing:
        raise unknown_name(contents.path, missing[0], contents.arrays)
    frame = _frame(contents, spec)
    inputs = tuple(_column(contents, name, frame, timed=False) for name in spec.inputs)
    outputs = tuple(_column(contents, name, frame, timed=spec.time_step is not None) for name in spec.outputs)
    axes = tuple(
        make_axis(axis, n, contents.coordinates.get(i), part, f"{contents.path}: axis {i}")
        for i, (axis, n, part) in enumerate(zip(spec.axes, frame.space, frame.cut, strict=True))
    )
    grid = Grid(axes)
    given = _field(contents, inputs, frame) if inputs else np.zeros((frame.cases, *grid.shape, 0), frame.dtype)
    return CaseGroup(grid, given, _field(contents, outputs, frame), frame.dtype)


def _field(contents: Contents, columns: tuple[Column, ...], frame: _Frame) -> Field:
    field = LazyField(columns, np.arange(frame.cases), contents.origin)
    return loaded(field) if frame.in_memory else field


def _frame(contents: Contents, spec: SourceSpec) -> _Frame:
    """The number of cases, the times kept and the points, as the first output has them."""
    shape, ndim = contents.arrays[spec.outputs[0]].shape, len(spec.axes)
    first = 2 if spec.time_step is not None or (len(shape) == ndim + 2 and shape[1] == 1) else 1
    if len(shape) not in (first + ndim, first + ndim + 1):
        raise _misshapen(contents, spec.outputs[0], (), timed=spec.time_step is not None, ndim=ndim)
    times = _times(contents, spec.time_step) if spec.time_step is not None else slice(None)
    return _Frame(
        shape[0], times, shape[first : first + ndim], parse_select(spec.select, ndim), spec.dtype, spec.in_memory
    )


def _times(contents: Contents, time_step: float) -> slice:
    """Every state, or every k-th if the file says that the states are time_step / k apart."""
    if contents.times is None:
        return slice(None)
    times = np.asarray(contents.times, np.float64)
    steps = np.diff(times)
    if times.size < 2 or not np.all(steps > 0):  # nor is what is no number
        raise InputError(f"{contents.path}: got the times {times.tolist()[:8]}, expected two or more that rise")
    apart = float(np.mean(steps))
    stride = round(time_step / apart)
    if not np.allclose(steps, apart, rtol=1e-3) or stride < 1 or abs(stride * apart - time_step) > 1e-3 * time_step:
        raise InputError(
            f"data.time_step: got {time_step:g}, expected a multiple of {apart:g}, which is how far apart the states "
            f"in {contents.path} are" + ("" if np.allclose(steps, apart, rtol=1e-3) else " on average (unevenly)")
        )
    return slice(None, None, stride)


def _column(contents: Contents, name: str, frame: _Frame, timed: bool) -> Column:
    """An array as channels: ([times,] *space, channels) of it are kept."""
    stored, ndim = contents.arrays[name], len(frame.space)
    if np.dtype(stored.dtype).kind not in "biuf":
        raise InputError(f"{contents.path}: array {name!r} has type {stored.dtype}, expected real numbers")
    before: tuple[slice | int, ...] = (frame.times,) if timed else ()
    shape = stored.shape
    if not timed and len(shape) == ndim + 2 and shape[1] == 1:
        before = (0,)
    first = 1 + len(before)
    constant = len(shape) == 1 and not timed
    fits = len(shape) in (first + ndim, first + ndim + 1) and shape[first : first + ndim] == frame.space
    if shape[:1] != (frame.cases,) or not (fits or constant):
        raise _misshapen(contents, name, (frame.cases, frame.space), timed, ndim)
    space = tuple(len(range(n)[part]) for n, part in zip(frame.space, frame.cut, strict=True))
    channels = shape[first + ndim :] or (1,)
    label = f"{contents.path}: array {name!r}"
    if constant:
        return Column(label, stored, (), (*space, 1), np.dtype(frame.dtype))
    times = (len(range(shape[1])[frame.times]),) if timed else ()
    index = (*before, *frame.cut, *(slice(None),) * (len(shape) - first - ndim))
    return Column(label, stored, index, (*times, *space, *channels), np.dtype(frame.dtype))


def _misshapen(contents: Contents, name: str, sizes: tuple[Any, ...], timed: bool, ndim: int) -> InputError:
    cases, space = sizes if sizes else ("cases", tuple("xyz"[:ndim]))
    words = ", ".join(str(n) for n in (cases, *(("times",) if timed else ()), *space))
    hint = "" if timed else "; trajectories need data.time_step"
    return InputError(
        f"{contents.path}: array {name!r} has shape {contents.arrays[name].shape}, "
        f"expected ({words}) or ({words}, channels){hint}"
    )
