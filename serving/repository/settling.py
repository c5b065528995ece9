"""What follows from a change: labels resolved, the policy applied. A pure function from one catalogue to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from serving.repository.catalogue import Catalogue, Label, resolve
from serving.repository.entry import Entry, Key, begun, let_go
from serving.repository.labels import STABLE, Keep, Labels
from serving.repository.policy import is_out, plan

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
        held = _held(resolve(file.versions, versions, before.labels.get(name, {})), versions)
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


def _held(labels: Mapping[str, Label], versions: Sequence[Entry]) -> set[str]:
    """What labels stand for or answer with; and what the label `stable` would fall back to, if that is not loaded."""
    held = {version for label in labels.values() for version in (label.target, label.version, label.last) if version}
    stable = labels.get(STABLE)
    if stable is None or stable.version or any(e.version == stable.target and not is_out(e) for e in versions):
        return held
    older = [entry.version for entry in versions if entry.order < Entry("", stable.target).order and not is_out(entry)]
    return held | set(older[-1:])


def _why(entry: Entry) -> str:
    return ASKED if entry.asked == "unload" else "newer versions are ready, and the policy keeps no more"


def _left(before: Mapping[Key, Entry], after: Mapping[Key, Entry]) -> list[Entry]:
    return [entry for key, entry in before.items() if entry.ladder and _ladder(after, key) is not entry.ladder]


def _ladder(entries: Mapping[Key, Entry], key: Key) -> object:
    return entries[key].ladder if key in entries else None
