"""One version in the folder and what became of it."""

import re
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from serving.ladder import Ladder

Key = tuple[str, str]  # name and version
Fingerprint = tuple[tuple[str, int, int, int], ...]  # of each file: name, size, time of change, inode
State = Literal["loading", "ready", "failed", "unloading", "unloaded"]


@dataclass(frozen=True)
class Entry:
    """A version: its compiled programs, or why there are none.

    `error`: why it failed; beside programs, why what has changed in the folder was not taken over; else, why it is not
    loaded. `idle`: what it is while it has no programs and has not failed. `fingerprint`: of the
    folder now; `tried`: of the folder that was loaded last, or failed to be. `asked`: what a request said of it, which
    goes before the policy. `gone`: its folder is. `leaving`: programs that requests may still use.
    """

    name: str
    version: str
    ladder: Ladder | None = None
    error: str | None = None
    idle: Literal["loading", "unloaded"] | None = None
    fingerprint: Fingerprint = ()
    tried: Fingerprint | None = None
    asked: Literal["load", "unload"] | None = None
    gone: bool = False
    leaving: "weakref.ref[Ladder] | None" = None

    @property
    def key(self) -> Key:
        """Name and version."""
        return self.name, self.version

    @property
    def state(self) -> State:
        """Whether it answers requests, will, or does not."""
        if self.ladder is not None:
            return "ready"
        if self.idle == "unloaded" and self.in_use:
            return "unloading"
        return self.idle or "failed"

    @property
    def in_use(self) -> bool:
        """Whether a request still uses programs that were unloaded."""
        return self.leaving is not None and self.leaving() is not None

    @property
    def is_new(self) -> bool:
        """Whether the folder holds something that nobody tried to load."""
        return self.tried != self.fingerprint

    @property
    def order(self) -> list[tuple[int, str]]:
        """Versions in the order that a person counts them: 2 before 10, v1.9 before v1.10."""
        parts = [part for part in re.split(r"(\d+)", self.version) if part]
        return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def begun(entry: Entry) -> Entry:
    """The entry while what stands in the folder is loaded; what answers goes on answering."""
    idle: Literal["loading"] | None = None if entry.ladder else "loading"
    return replace(entry, tried=entry.fingerprint, idle=idle, error=None)


def loaded(entry: Entry, outcome: Ladder | str) -> Entry:
    """The entry with new programs, or with the reason why there are none."""
    if isinstance(outcome, str):
        return replace(entry, error=outcome, idle=None)
    return replace(entry, ladder=outcome, error=None, idle=None)


def let_go(entry: Entry, why: str | None) -> Entry:
    """The entry without its programs, which requests that have begun still use."""
    leaving = weakref.ref(entry.ladder) if entry.ladder else entry.leaving
    return replace(entry, ladder=None, leaving=leaving, idle="unloaded", error=why, tried=None)


def observed(entries: Mapping[Key, Entry], found: Mapping[Key, Fingerprint]) -> dict[Key, Entry]:
    """The entries after a look at the folder: new ones are unloaded, vanished ones stay until they are let go."""
    seen = {}
    for key, fingerprint in found.items():
        before = entries.get(key, Entry(*key, idle="unloaded"))
        seen[key] = replace(before, fingerprint=fingerprint, gone=False)
    vanished = {key: _vanished(entry) for key, entry in entries.items() if key not in found}
    return seen | {key: entry for key, entry in vanished.items() if entry.ladder or entry.in_use}


def _vanished(entry: Entry) -> Entry:
    """Should its folder come back, nothing of it was tried or asked."""
    gone = replace(entry, gone=True, asked=None)
    return gone if entry.ladder else replace(gone, idle="unloaded", tried=None)
