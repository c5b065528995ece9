"""The ledgers of all models, in one place: the parent of several workers, or the only process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from serving.releases.ledger import Account, Counted, Event, Ledger, Scored


class Ledgers:
    """By model. Used from any thread."""

    def __init__(self, remembered: int) -> None:
        self._remembered = remembered
        self._lock = threading.Lock()
        self._of: dict[str, Ledger] = {}

    def count(self, scored: Scored, by: int = 0) -> Counted:
        """Take a truth into account that somebody brought; see `Ledger.count`."""
        with self._opened(scored.model) as ledger:
            return ledger.count(scored, by)

    def conclude(self, model: str, event: Event | None) -> None:
        """What was to be done of a model is, or could not be."""
        with self._opened(model) as ledger:
            ledger.conclude(event)

    def abandon(self, by: int) -> None:
        """Whoever ends concludes nothing: what it was to do is left to the next truth."""
        with self._lock:
            for ledger in self._of.values():
                if ledger.acting == by:
                    ledger.acting = None

    def accounts(self) -> dict[str, Account]:
        """How each model's versions stand, where truths came."""
        with self._lock:
            return {model: ledger.account() for model, ledger in self._of.items()}

    @contextmanager
    def _opened(self, model: str) -> Iterator[Ledger]:
        with self._lock:
            yield self._of.setdefault(model, Ledger(self._remembered))
