"""Ledgers in a folder, one for all processes that share it, as the replicas of a fleet do; they outlive all of them."""

import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from serving.releases.ledger import Account, Ledger, State
from serving.releases.ledgers import Ledgers

ENDING = ".ledger"
LEASE = 60.0  # seconds for a decision to be carried out, after which it is left to the next truth
log = logging.getLogger("serving")


class KeptLedgers(Ledgers):
    """Each truth is counted in the file, under a lock that all take: what comes of it is as in one process.

    Raises:
        InputError: the folder cannot be made.
    """

    def __init__(self, remembered: int, folder: Path) -> None:
        super().__init__(remembered)
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"ledgers: {error}") from None

    def abandon(self, by: int) -> None:
        """Nothing: what somebody was to do is left to others after a while."""

    def accounts(self) -> dict[str, Account]:
        """How each model's versions stand, where truths came."""
        models = [path.name.removesuffix(ENDING) for path in self._folder.glob(f"*{ENDING}")]
        return {model: self._read(model).account() for model in models}

    @contextmanager
    def _opened(self, model: str) -> Iterator[Ledger]:
        with self._lock, _locked(self._folder) as locked:
            ledger = self._read(model)
            yield ledger
            if locked:
                self._write(model, ledger.state())

    def _read(self, model: str) -> Ledger:
        """What the file says; one that cannot be read begins anew."""
        ledger = Ledger(self._remembered)
        try:
            state = msgspec.msgpack.decode(self._path(model).read_bytes(), type=State)
        except FileNotFoundError:
            return ledger
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s: %s; its evidence begins anew", self._path(model), error)
            return ledger
        if not state.since <= time.monotonic() <= state.since + LEASE:  # or the machine has started anew
            state.acting = None
        ledger.restore(state)
        return ledger

    def _write(self, model: str, state: State) -> None:
        try:
            write_atomically(self._path(model), msgspec.msgpack.encode(state))
        except OSError as error:
            log.error("%s: %s; a truth is not kept", self._path(model), error)

    def _path(self, model: str) -> Path:
        return self._folder / f"{model}{ENDING}"


def ledgers_in(folder: str, remembered: int) -> Ledgers:
    """Those of a folder; where none is named, those of this process alone.

    Raises:
        InputError: the folder cannot be made.
    """
    return KeptLedgers(remembered, Path(folder)) if folder else Ledgers(remembered)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock, if it can be had, and give whether."""
    locked = True
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # somebody may have removed it
            held = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, held)
            fcntl.flock(held, fcntl.LOCK_EX)
        except OSError as error:
            log.error("%s: %s; a truth is not kept", folder, error)
            locked = False
        yield locked
