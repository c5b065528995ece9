"""What a docstring states is read as it is meant, and an array of another shape is noticed."""

import importlib
import importlib.machinery
import importlib.util

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.shapes.checked import WrongShape, checked, wrap
from tests.shapes.stated import Stated, in_words, stated

Floats = NDArray[np.float64]


def score(truth: Floats, weights: Floats, level: Floats, transposed: bool = False) -> Floats:
    """How wrong it is at each level, (batch, levels).

    Args:
        truth: (batch, *space, channels), in the
            outputs' unit.
        weights: of the points.
        level: (levels,) or ().
        transposed: wrongly.

    Raises:
        InputError: (nothing, here).
    """
    found = np.zeros((len(truth), *level.shape))
    return found.T if transposed else found


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("", [""]),
        ("n,", ["n"]),
        ("batch, *space, input channels", ["batch *space input_channels"]),
        ("[times,] *space", ["times *space", "*space"]),
        ("steps + 1, *space", ["_ *space"]),
        ("rows, ...", ["rows ..."]),
        ("2, n", ["2 n"]),
        ("*lead, *shape", ["..."]),
    ],
)
def test_brackets_are_read_as_shapes(inside: str, words: list[str]) -> None:
    assert in_words(inside) == words


def test_a_docstring_states_shapes_of_arguments_and_of_the_answer() -> None:
    assert stated(score) == Stated(
        {"truth": ("batch *space channels",), "level": ("levels", ""), "weights": ("*space", "batch *space")},
        ("batch levels",),
    )


def test_words_for_any_shape_and_no_words_state_nothing() -> None:
    def anything(field: Floats) -> Floats:
        """The field, any shape, unlike (n,)."""
        return field

    assert stated(anything) == stated(lambda field: field) == Stated({}, ())


def ask(truth: tuple[int, ...], weights: tuple[int, ...], level: tuple[int, ...], transposed: bool = False) -> None:
    checked(score, stated(score))(np.zeros(truth), np.zeros(weights), np.zeros(level), transposed=transposed)


def test_what_fits_passes() -> None:
    ask((3, 8, 5, 2), (8, 5), (4,))
    ask((3, 8, 5, 2), (3, 8, 5), (4,))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (((3,), (8, 5), (4,)), r"score: truth has shape \(3,\), the docstring states \(batch \*space channels\)"),
        (((3, 8, 5, 2), (5,), (4,)), "weights has shape"),
        (((3, 8, 5, 2), (8, 5), (4, 1)), r"level has shape \(4, 1\), .* \(levels\) or \(\)"),
        (((3, 8, 5, 2), (8, 5), (4,), True), r"the answer has shape \(4, 3\)"),
    ],
)
def test_what_does_not_is_noticed(shapes: tuple[tuple[int, ...], ...], words: str) -> None:
    with pytest.raises(WrongShape, match=words):
        ask(*shapes)  # type: ignore[arg-type]


def test_a_module_is_wrapped_where_its_docstrings_state_shapes() -> None:
    package = importlib.import_module("pnol_jax.scores")
    spec = importlib.machinery.PathFinder.find_spec("pnol_jax.scores.proper", package.__path__)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert wrap(module) >= 5


def test_a_functions_own_words_for_a_shape_come_first() -> None:
    with pytest.raises(AttributeError):
        checked(score, stated(score))(np.zeros(3), np.zeros(3), None)
