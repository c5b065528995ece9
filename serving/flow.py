"""When a connection is read on."""

import asyncio
from collections.abc import Sized

from uvicorn.protocols.http.flow_control import FlowControl


class Flow(FlowControl):
    """Reads no more while requests wait that were read already, or a client could have any number of them read.

    waiting: the requests that came before the answer to the one before them was written.
    """

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Go on, unless requests wait."""
        if not self._waiting:
            super().resume_reading()
