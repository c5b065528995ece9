"""Which release replicas are started with, and the way back while an update is under way."""

import logging
from collections.abc import Iterable
from typing import Any

from serving.fleet.replicas.book import Release
from serving.fleet.replicas.life import Replica
from serving.fleet.supervisor.decisions import Decisions


class Updates:
    """`before` is the release to go back to; None where all is as it was asked."""

    def __init__(self, release: Release, before: Release | None, decisions: Decisions) -> None:
        self.release, self.before = release, before
        self.rollbacks = 0
        self._decisions = decisions

    def begin(self, settings: dict[str, Any], replicas: Iterable[Replica]) -> Release:
        """Have these replicas replaced, one by one, by such with these settings and today's code."""
        self.before = self.before or self.release
        used = (self.release.number, *(replica.release for replica in replicas))
        self.release = Release(max(used) + 1, settings)
        self._decisions.note("update", f"release {self.release.number} replaces {self.before.number}")
        return self.release

    def failed(self, replica: Replica, said: str) -> None:
        """A replica ended or was given up: if it is the first sign of a new release, that is taken back."""
        if self.before is None or replica.release != self.release.number or replica.ready_at is not None:
            return
        why = f"release {self.release.number} did not become ready: {said}"
        self.release, self.before = self.before, None
        self.rollbacks += 1
        self._decisions.note("rolled back", why, logging.ERROR, release=self.release.number)

    def look(self, staying: Iterable[Replica]) -> None:
        """See whether all that stay are of the release."""
        releases = {replica.release for replica in staying}
        if self.before is not None and releases == {self.release.number}:
            self.before = None
            self._decisions.note("updated", f"all replicas are of release {self.release.number}")
