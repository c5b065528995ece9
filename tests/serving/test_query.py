"""Every way of writing the same request comes to the same question; what does not fit is refused with its reason."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pnol_jax.errors import InputError
from pnol_jax.servable import load_servable
from serving.ladder import Ladder
from serving.places import Places
from serving.query import Options, Query
from serving.question import Question, check
from tests import heat

GRID = heat.grid(10, 11)
FIELD, _ = heat.wave(GRID, 1, 2)
FLAT = tuple(FIELD.ravel().tolist())


def question(ladder: Ladder, inputs: Any, **changes: Any) -> Question:
    options = {name: changes.pop(name) for name in list(changes) if name in Options.__struct_fields__}
    array = np.asarray(inputs, changes.pop("dtype", np.float64))
    return check(Query(Options(**options), array, **changes), ladder.places, max_cases=4)


@pytest.mark.parametrize(
    ("inputs", "changes", "cases"),
    [
        (FIELD, {}, None),
        (FIELD[..., 0], {}, None),
        (FIELD[None], {}, 1),
        (FIELD[None, ..., 0], {}, 1),
        ([FIELD, FIELD], {}, 2),
        (FLAT, {"shape": (10, 11)}, None),
        (FLAT * 3, {"shape": (10, 11)}, 3),
        (FIELD, {"shape": (10, 11)}, None),
        (FIELD[None], {"shape": (10, 11)}, 1),
        (FIELD, {"coordinates": tuple(axis.points for axis in GRID.axes)}, None),
        (FIELD, {"dtype": np.float32}, None),
    ],
)
def test_the_same_field_however_it_is_written(ladder: Ladder, inputs: Any, changes: dict[str, Any], cases: Any) -> None:
    asked = question(ladder, inputs, **changes)
    assert asked.single == (cases is None)
    assert asked.inputs.dtype == np.float32
    np.testing.assert_array_equal(asked.inputs, np.stack([FIELD] * (cases or 1)))
    assert asked.place.grid == GRID


def test_outputs_keep_their_order_and_an_interval_is_its_two_bounds(ladder: Ladder) -> None:
    assert question(ladder, FIELD).outputs == ("mean", "std")
    asked = question(ladder, FIELD, outputs=("samples", "interval", "mean", "lower"))
    assert asked.outputs == ("samples", "lower", "upper", "mean")
    assert asked.num_samples == heat.NUM_SAMPLES


def test_draws_of_a_model_without_any_are_refused_with_a_way_to_have_some(tmp_path: Path) -> None:
    only = {"signature": heat.signature(2, ["moments"]), "num_samples": 0, "predict": heat.uncalibrated}
    servable = load_servable(heat.write(tmp_path, **only))
    with pytest.raises(InputError, match=r"model by 'heat kernel' has none; expected some of \['mean'.*'coloured'"):
        check(Query(Options(outputs=("mean", "samples")), np.asarray(FIELD)), Places(servable), 4)


NAN = np.where(np.arange(110).reshape(10, 11, 1) == 57, np.nan, FIELD)
REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "too few axes": (FLAT, {}, r"inputs: got shape \[110\], expected \(x, y, 1\) or \(cases, x, y, 1\)"),
    "too many channels": (np.zeros((3, 10, 11, 2)), {}, r"inputs: got shape \[3, 10, 11, 2\]"),
    "too many axes": (np.zeros((1, 1, 10, 11, 1)), {}, r"inputs: got shape \[1, 1, 10, 11, 1\]"),
    "no cases": (np.zeros((0, 10, 11, 1)), {}, r"inputs: got shape \[0, 10, 11, 1\]"),
    "integers": (FIELD, {"dtype": np.int64}, "got dtype int64, expected float32 or float64"),
    "a NaN": (NAN, {}, r"got 1 values that are not finite in float32, the first at \[0, 5, 2, 0\]"),
    "beyond float32": (FIELD.astype(np.float64) * 1e300, {}, "not finite in float32"),
    "another shape": (FIELD, {"shape": (11, 10)}, r"shape: got \[11, 10\], expected that of the inputs"),
    "a shape of other axes": (FLAT, {"shape": (110,)}, "expected 2 numbers of points, one per axis"),
    "too large a grid": (np.zeros((25, 10, 1)), {}, "got 25x10 points, expected at most one of the buckets"),
    "an axis too many": (
        np.zeros((4, 10, 8)),
        {},
        r"inputs: got shape \[4, 10, 8\], read as 4 case\(s\) of 10 x 8 points: .* the grid has 8",
    ),
    "too small a grid": (np.zeros((8, 10, 1)), {}, "8 modes .* need at least 9 points on axis 0, the grid has 8"),
    "too many cases": (np.zeros((5, 10, 11, 1)), {}, "got 5 cases, expected at most 4"),
    "coordinates of one axis": (FIELD, {"coordinates": (np.arange(10.0),)}, "expected one list per axis"),
    "coordinates of other lengths": (FIELD, {"coordinates": (np.arange(11.0), np.arange(10.0))}, "coordinates: got"),
    "coordinates outside": (
        FIELD,
        {"coordinates": (np.linspace(0, 5, 10), np.linspace(0, 1, 11))},
        r"got \[0, 5\], expected them inside \[0, 2\]",
    ),
    "coordinates that do not increase": (
        FIELD,
        {"coordinates": (np.linspace(1, 0, 10), np.linspace(0, 1, 11))},
        r"got 0\.888889 after 1 \(point 1\), expected them increasing",
    ),
    "an unknown output": (FIELD, {"outputs": ("mean", "median")}, r"outputs: got \['median'\], expected some of"),
    "no output": (FIELD, {"outputs": ()}, "outputs: got none"),
    "too many draws": (FIELD, {"outputs": ("samples",), "num_samples": 10**6}, "got 1000000, expected at most"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_with_its_reason(ladder: Ladder, case: str) -> None:
    inputs, changes, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        question(ladder, inputs, **changes)
