"""What an engine has done."""

import msgspec


class EngineStatistics(msgspec.Struct):
    """Since it started. `slots` counts the places in batches, filled or not."""

    batches: int = 0
    cases: int = 0
    slots: int = 0
    failures: int = 0
    refused: int = 0
    waiting: int = 0  # cases
    waiting_seconds: float = 0.0  # of the device, for those
    busy_seconds: float = 0.0
