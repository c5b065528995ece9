"""Whether this process should live, and whether it should get requests."""

import time
from typing import Any

from serving.service import Service


class Readiness:
    """Live while the engine runs; ready from when the models are loaded until the service drains."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._started = time.monotonic()
        self.loaded = False
        self.draining = False

    @property
    def live(self) -> bool:
        """Whether the process need not be restarted."""
        return self._service.engine.alive

    @property
    def ready(self) -> bool:
        """Whether a model answers."""
        answering = any(entry.state == "ready" for entry in self._service.repository.entries())
        return self.live and self.loaded and answering and not self.draining

    def uptime(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def report(self) -> dict[str, Any]:
        """What `GET /health` says."""
        models = {f"{entry.name}/{entry.version}": entry.state for entry in self._service.repository.entries()}
        return {"live": self.live, "ready": self.ready, "draining": self.draining, "models": models}
