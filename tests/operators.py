"""Every operator, small."""

from typing import Any

OPTIONS: dict[str, dict[str, Any]] = {
    "fno": {"width": 6, "depth": 2},
    "ffno": {"width": 6, "depth": 2},
    "deeponet": {"width": 8, "depth": 2, "features": 8},
    "uno": {"width": 6, "levels": 2},
    "transolver": {"width": 6, "depth": 2, "heads": 2, "slices": 5},
}
