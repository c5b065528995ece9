"""What follows from a change: labels resolved, the policy applied. A pure function from one catalogue to the next."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from serving.repository.catalogue import Catalogue, Label, resolve
from serving.repository.entry import Entry, Key, begun, let_go
from serving.repository.labels import Keep, Labels
from serving.repository.policy import plan

GONE, ASKED = "its folder is gone", "unloaded by request"


@dataclass(frozen=True)
class Settled:
    """The next catalogue, the versions that are now to be loaded, and the entries whose programs it has no more."""

    catalogue: Catalogue
    load: tuple[Key, ...]
    left: tuple[Entry, ...]


def settle(before: Catalogue, table: Mapping[Key, Entry], files: Mapping[str, Labels], keep: Keep) -> Settled:
    """Bring a table that has changed in line with labels and policy.

    Args:
        before: the catalogue until now
        table: the versions after the change
        files: `labels.toml` of each model that has one
        keep: the policy of models whose file states none
    """
    entries = dict(table)
    load: list[Key] = []
    for name, versions in Catalogue(table).models.items():
        file = files.get(name, Labels())
        held = _held(resolve(file.versions, versions, before.labels.get(name, {})))
        planned = plan(versions, file.sections.keep or keep, held)
        load += planned.load
        entries |= {key: begun(entries[key]) for key in planned.load}
        entries |= {key: let_go(entries[key], _why(entries[key])) for key in planned.unload}
    entries |= {key: let_go(entry, GONE) for key, entry in entries.items() if entry.gone and entry.ladder}
    after = Catalogue(entries, files)
    labels = {
        name: resolve(files.get(name, Labels()).versions, versions, before.labels.get(name, {}))
        for name, versions in after.models.items()
    }
    return Settled(replace(after, labels=labels), tuple(load), tuple(_left(before.table, entries)))


def _held(labels: Mapping[str, Label]) -> set[str]:
    return {version for label in labels.values() for version in (label.target, label.version) if version}


def _why(entry: Entry) -> str:
    return ASKED if entry.asked == "unload" else "newer versions are ready, and the policy keeps no more"


def _left(before: Mapping[Key, Entry], after: Mapping[Key, Entry]) -> list[Entry]:
    return [entry for key, entry in before.items() if entry.ladder and _ladder(after, key) is not entry.ladder]


def _ladder(entries: Mapping[Key, Entry], key: Key) -> object:
    return entries[key].ladder if key in entries else None
