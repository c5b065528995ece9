"""Where a fleet's config comes from, so that it can be read again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from serving.fleet.config import FleetConfig, check_replicas


@dataclass(frozen=True)
class Reading:
    """`read` gives the config as it is now."""

    read: Callable[[], FleetConfig]

    def settings(self) -> dict[str, Any]:
        """Those of a replica, as they are now; the rest of a config holds until the supervisor starts again.

        Raises:
            InputError: a replica would not take them, or the file is wrong.
        """
        config = self.read()
        check_replicas(config)
        return config.serving
