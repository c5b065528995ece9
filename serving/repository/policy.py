"""Which versions of a model to load and which to let go: a pure function of what there is."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from serving.repository.entry import Entry, Key
from serving.repository.labels import Keep


@dataclass(frozen=True)
class Plan:
    """What is to be done next."""

    load: tuple[Key, ...]
    unload: tuple[Key, ...]


def plan(entries: Sequence[Entry], keep: Keep, labelled: Collection[str]) -> Plan:
    """What brings a model's versions, oldest first, nearer to the policy.

    A version that fails makes room for the next older one. Nothing is let go before as many newer ones answer.

    Args:
        entries: of one model, oldest first
        keep: how many of the newest are loaded, and which others
        labelled: versions that a label stands for, or that answer in the place of one that is not ready
    """
    candidates = [e for e in entries if not is_out(e)]
    ready = [e for e in entries if e.ladder is not None]
    wanted, kept = _chosen(candidates, keep, labelled), _chosen(ready, keep, labelled)
    load = tuple(e.key for e in wanted if e.is_new)
    return Plan(load, tuple(e.key for e in ready if e.asked == "unload" or e not in kept))


def is_out(entry: Entry) -> bool:
    """Whether a version cannot be had: it failed, its folder is gone, or a request unloaded it."""
    return entry.gone or entry.asked == "unload" or (entry.state == "failed" and not entry.is_new)


def _chosen(entries: Sequence[Entry], keep: Keep, labelled: Collection[str]) -> list[Entry]:
    named = {*labelled, *keep.versions}
    newest = keep.newest or (0 if keep.versions else len(entries))
    first = len(entries) - newest
    return [
        entry
        for place, entry in enumerate(entries)
        if place >= first or entry.version in named or entry.asked == "load"
    ]
