"""What can be asked for at one moment: a frozen table of versions and labels, looked up without a lock."""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from serving.ladder import Ladder
from serving.refusals import NotFound
from serving.repository.entry import Entry, Key
from serving.repository.labels import STABLE, Labels


@dataclass(frozen=True)
class Label:
    """What a label stands for in the file, and the version that answers to it, if one does.

    `last`: the last that it stood for while that was ready; what merely filled in is not remembered.
    """

    target: str
    version: str | None
    last: str | None = None


@dataclass(frozen=True)
class Catalogue:
    """The versions and labels. A change makes a new one."""

    table: Mapping[Key, Entry] = field(default_factory=dict)
    files: Mapping[str, Labels] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, Label]] = field(default_factory=dict)

    @functools.cached_property
    def models(self) -> Mapping[str, list[Entry]]:
        """The versions that are in the folder by model, oldest first."""
        models: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if not entry.gone:
                models.setdefault(entry.name, []).append(entry)
        return models

    @functools.cached_property
    def entries(self) -> tuple[Entry, ...]:
        """Every version, oldest first within a model; those that are gone too."""
        return tuple(sorted(self.table.values(), key=lambda entry: (entry.name, entry.order)))

    def find(self, name: str | None, version: str | None) -> Ladder:
        """A version that is ready, by its number or a label.

        If none is named, that of the label `stable`, or the newest where there is no such label. The model may stay
        unnamed if there is only one.

        Raises:
            NotFound: there is none.
        """
        model = self.model(name)
        labels = self.labels.get(model, {})
        wanted = STABLE if version is None and STABLE in labels else version
        ready = [entry for entry in self.models[model] if entry.ladder is not None]
        if wanted is None:
            found = ready[-1:]
        else:
            found = [entry for entry in ready if entry.version == wanted]
            if not found and (label := labels.get(wanted)):
                found = [entry for entry in ready if entry.version == label.version]
        if not found or found[0].ladder is None:
            got = "no version" if wanted is None else f"version {wanted!r}"
            raise NotFound(f"model {model!r}: got {got}, expected one that is ready of {self._have(model)}")
        return found[0].ladder

    def labels_of(self, entry: Entry) -> list[str]:
        """The labels that a version answers to."""
        return [name for name, label in self.labels.get(entry.name, {}).items() if label.version == entry.version]

    def model(self, name: str | None) -> str:
        """The model's name, which may be left out if there is only one.

        Raises:
            NotFound: there is none of that name.
        """
        names = list(self.models)
        if name is None and len(names) != 1:
            raise NotFound(f"model: none was named, expected one of {names}")
        chosen = names[0] if name is None else name
        if chosen not in self.models:
            raise NotFound(f"model: got {chosen!r}, expected one of {names}")
        return chosen

    def _have(self, model: str) -> list[str]:
        versions = [f"{entry.version} ({entry.state})" for entry in self.models[model]]
        labels = self.labels.get(model, {})
        return versions + [f"{name} (label of {label.target})" for name, label in labels.items()]


def resolve(versions: Mapping[str, str], entries: Collection[Entry], before: Mapping[str, Label]) -> dict[str, Label]:
    """The version that answers to each label.

    That which the label stands for, once it is ready. Until then, or if it never is, the one that it stood for before;
    the label `stable` falls back further, to the newest ready version that is older than what it stands for, as a
    newer one may be what is still on trial.

    Args:
        versions: what the file says of each label
        entries: of the model, oldest first
        before: the outcome of the last time
    """
    ready = [entry.version for entry in entries if entry.ladder is not None]
    resolved = {}
    for name, target in versions.items():
        last = target if target in ready else before[name].last if name in before else None
        choices = [target, last]
        if name == STABLE:
            here = Entry("", target).order
            choices += [entry.version for entry in reversed(list(entries)) if entry.order < here]
        resolved[name] = Label(target, next((v for v in choices if v in ready), None), last)
    return resolved
