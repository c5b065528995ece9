"""Bodies of arrays by name, in JSON or msgpack, for what takes more arrays than the inputs and their grid."""

from collections.abc import Mapping
from typing import Annotated, Any, Generic, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.query import Common, Options, Query
from serving.refusals import Refusal, Unsupported, explained
from serving.wire import json, msgpack
from serving.wire.formats import bare
from serving.wire.msgpack import Array
from serving.wire.numbers import Numbers, read_numbers

Shape = tuple[Annotated[int, msgspec.Meta(ge=2)], ...]
TYPES = (json.MEDIA_TYPE, msgpack.MEDIA_TYPE)
T = TypeVar("T", bound=Common)


class Bodies(Generic[T]):
    """Reads what an endpoint takes, as a struct of its options with arrays beside: `inputs`, `coordinates`, others.

    Args:
        text: the struct of a JSON body, whose arrays are nested lists
        binary: that of a msgpack body
    """

    def __init__(self, text: type[T], binary: type[T]) -> None:
        self._text = text
        self._decoders: Mapping[str, Any] = {
            json.MEDIA_TYPE: msgspec.json.Decoder(text),
            msgpack.MEDIA_TYPE: msgspec.msgpack.Decoder(binary),
        }

    def decode(self, body: bytes, content_type: str) -> T:
        """The struct in a body, JSON if the header does not say.

        Raises:
            Unsupported: another media type.
            Refusal: not what the media type says, unknown or ill-typed fields.
        """
        kind = bare(content_type) or json.MEDIA_TYPE
        if kind not in TYPES:
            raise Unsupported(f"content-type: got {kind!r}, expected one of {sorted(TYPES)}")
        try:
            decoded: T = self._decoders[kind].decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refusal(f"body: {explained(error, self._text)}") from None
        return decoded


def query_of(asked: Any, outputs: tuple[str, ...]) -> Query:
    """The query for these outputs with a body's inputs and grid, and what it says of model, version and urgency.

    Raises:
        Refusal: arrays that are none.
    """
    common = {name: getattr(asked, name) for name in Common.__struct_fields__}
    coordinates = None
    if asked.coordinates is not None:
        coordinates = tuple(read(array, f"coordinates[{i}]") for i, array in enumerate(asked.coordinates))
    shape = getattr(asked, "shape", None)
    return Query(Options(outputs=outputs, **common), read(asked.inputs, "inputs"), shape, coordinates)


def read(array: Numbers | Array, where: str) -> NDArray[Any]:
    """An array of any shape, from either kind of body.

    Raises:
        Refusal: it is none.
    """
    return msgpack.read_array(array, where) if isinstance(array, Array) else read_numbers(array, where)


def accepted(accept: str, content_type: str, known: tuple[str, ...] = TYPES) -> str:
    """The media type of the answer: the first of these that `Accept` names, else the request's own, else JSON."""
    named = [bare(part) for part in accept.split(",")]
    return next((kind for kind in [*named, bare(content_type)] if kind in known), json.MEDIA_TYPE)


async def encode(about: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]], media_type: str) -> bytes:
    """A map of what there is to say, with arrays of any shape by name under "outputs"; large JSON by turns."""
    if media_type == msgpack.MEDIA_TYPE:
        packed = {name: msgpack.write_array(array) for name, array in arrays.items()}
        return msgspec.msgpack.encode({**about, "outputs": packed})
    lists = {name: await json.encode_array(array) for name, array in arrays.items()}
    return json.encode({**about, "outputs": lists})
