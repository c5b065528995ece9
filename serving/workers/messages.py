"""What parent and workers say to each other on their links: a length of four bytes, then msgpack.

A link is a pair of sockets that nobody else can open: it has no name, and the worker inherits its end.
"""

import struct
from typing import Literal

from msgspec import Struct, field, msgpack

from serving.monitoring.families import Families
from serving.releases.ledger import Account, Counted, Event, Scored

LENGTH = struct.Struct(">I")
Asked = list[tuple[str, str, Literal["load", "unload"]]]  # what requests said of versions: name, version, what


class Act(Struct, frozen=True):
    """Something that every worker is to do with its versions: load, unload, or look at the folder."""

    what: Literal["load", "unload", "look"]
    model: str = ""
    version: str | None = None


class Begin(Struct, frozen=True, tag=True):
    """To a worker, before anything else: what requests have said of versions until now."""

    asked: Asked


class Ready(Struct, frozen=True, tag=True):
    """From a worker: its versions are loaded, it takes requests."""


class Tell(Struct, frozen=True, tag=True):
    """The figures are wanted: of a worker by the parent, of all by a worker."""

    id: int


class Figures(Struct, frozen=True, tag=True):
    """The answer to `Tell`; of a worker that ends unasked, its id then is 0. `asked`: a worker's, as in `Begin`."""

    id: int
    families: Families
    asked: Asked = field(default_factory=list)


class Do(Struct, frozen=True, tag=True):
    """An act: asked for by a worker, to be done by the one that gets it from the parent."""

    id: int
    act: Act


class Done(Struct, frozen=True, tag=True):
    """The answer to `Do`. error: why it was not done, if it was not; status: as HTTP has it."""

    id: int
    error: str | None = None
    status: int = 200
    asked: Asked = field(default_factory=list)


class Recall(Struct, frozen=True, tag=True):
    """Who answered the request of this id? Asked by a worker of the parent, and by that of all others."""

    id: int
    name: str


class Recalled(Struct, frozen=True, tag=True):
    """The answer to `Recall`.

    found: requests as `serving.releases.packing` packs them, None for an id that several had; silent: workers that did
    not answer in time.
    """

    id: int
    found: list[bytes | None]
    silent: int = 0


class Count(Struct, frozen=True, tag=True):
    """From a worker: a truth that came."""

    id: int
    scored: Scored


class Counts(Struct, frozen=True, tag=True):
    """The answer to `Count`."""

    id: int
    counted: Counted


class Conclude(Struct, frozen=True, tag=True):
    """From a worker: the action that a truth had led to is done, or could not be."""

    model: str
    event: Event | None


class Report(Struct, frozen=True, tag=True):
    """From a worker: how do all versions stand?"""

    id: int


class Reported(Struct, frozen=True, tag=True):
    """The answer to `Report`, by model."""

    id: int
    accounts: dict[str, Account]


OfVersions = Begin | Ready | Do | Done
OfTruths = Recall | Recalled | Count | Counts | Conclude | Report | Reported
Message = OfVersions | OfTruths | Tell | Figures
_encoder, _decoder = msgpack.Encoder(), msgpack.Decoder(Message)


def pack(message: Message) -> bytes:
    """A message with its length before it."""
    content = _encoder.encode(message)
    return LENGTH.pack(len(content)) + content


def unpack(content: bytes) -> Message:
    """The message of these bytes, without the length."""
    message: Message = _decoder.decode(content)
    return message
