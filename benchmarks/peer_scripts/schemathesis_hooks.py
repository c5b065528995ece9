"""Bodies for schemathesis in the formats that it does not know: whole ones, damaged ones and noise.

The whole ones lie in the folder $BODIES, one file for each media type, its slash written as a dash.
"""

import os
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st


@st.composite
def damaged(draw: Any, whole: bytes) -> bytes:
    """A body with up to four of its bytes changed, perhaps cut short."""
    body = bytearray(whole)
    for place in draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
        body[place] = draw(st.integers(0, 255))
    return bytes(body[: draw(st.integers(0, len(body)) | st.just(len(body)))])


for file in Path(os.environ["BODIES"]).iterdir():
    content = file.read_bytes()
    media_type = file.name.replace("-", "/", 1)
    schemathesis.openapi.media_type(media_type, st.just(content) | damaged(content) | st.binary(max_size=100))
