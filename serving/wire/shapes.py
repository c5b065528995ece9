"""Numbers in the shape that a request says they have."""

from collections.abc import Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from serving.refusals import Refusal


def in_shape(numbers: NDArray[Any], shape: Sequence[int], where: str, order: Literal["C", "F"] = "C") -> NDArray[Any]:
    """The numbers, of any shape, in the given one, which says as many as there are.

    Raises:
        Refusal: a shape that no array can have, since it has too many axes, or one without numbers is too long.
    """
    try:
        return numbers.reshape(tuple(shape), order=order)
    except (ValueError, OverflowError) as error:
        raise Refusal(f"{where}: got the shape {list(shape)}: {error}") from None
