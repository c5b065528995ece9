"""What the parts of a config are made of: sections, and numbers with bounds."""

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=1)]
Several = Annotated[int, msgspec.Meta(ge=2)]
Natural = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
OpenShare = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Closed = Annotated[float, msgspec.Meta(ge=0, le=1)]
Decay = Annotated[float, msgspec.Meta(ge=0, lt=1)]  # of a moving average


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A part of the config; unknown keys are errors."""
