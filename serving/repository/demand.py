"""Loading and unloading because a request says so, which goes before the policy until the next one says otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pnol_jax.servable import check_name
from serving.refusals import NotFound, Refusal
from serving.repository.entry import Entry, Key, let_go
from serving.repository.repository import Repository, Table
from serving.repository.settling import ASKED


def load_model(repository: Repository, name: str, version: str | None) -> None:
    """Load a version, or what the policy keeps of a model; waits until it is done. What failed is tried again.

    Raises:
        InputError: a name that is none.
        NotFound: there is no such folder.
        Refusal: it could not be loaded; what answered before does so still.
    """
    _check(name, version)
    repository.refresh()
    repository.change(lambda table: _again(table, _mine(table, name, version), "load" if version else None))
    repository.wait(name)
    mine = _mine(repository.catalogue.table, name, version)
    failed = [entry for entry in mine if entry.state == "failed" or (entry.ladder and entry.error)]
    if mine[-1] in failed or not any(entry.ladder for entry in mine):
        reasons = [f"{entry.version} ({entry.state}): {entry.error}" for entry in failed]
        raise Refusal(f"model {name!r} could not be loaded: {'; '.join(reasons) or 'its labels keep no version'}")


def unload_model(repository: Repository, name: str, version: str | None) -> None:
    """Unload a version, or all of a model; requests that have begun are still answered.

    Raises:
        InputError: a name that is none.
        NotFound: there is no such version.
    """
    _check(name, version)

    def edit(table: Table) -> Table:
        mine = _mine(table, name, version)
        return {**table, **{entry.key: _unwanted(entry) for entry in mine}}

    repository.change(edit)


def asked_of(repository: Repository) -> list[tuple[str, str, Literal["load", "unload"]]]:
    """What requests have said of versions that are there: name, version, what."""
    return [(*entry.key, entry.asked) for entry in repository.catalogue.table.values() if entry.asked]


def adopt(repository: Repository, asked: Sequence[tuple[str, str, Literal["load", "unload"]]]) -> None:
    """Begin with what requests said to another process; before anything is loaded."""
    repository.expect([Entry(name, version, idle="unloaded", asked=what) for name, version, what in asked])


def _unwanted(entry: Entry) -> Entry:
    """The policy lets go of the programs; a version that has none, or is about to, stays without."""
    unwanted = replace(entry, asked="unload")
    return unwanted if entry.ladder else let_go(unwanted, ASKED)


def _check(name: str, version: str | None) -> None:
    check_name(name, "model")
    if version is not None:
        check_name(version, "version")


def _again(table: Table, entries: list[Entry], asked: str | None) -> Mapping[Key, Entry]:
    fresh = {
        entry.key: replace(entry, asked=asked, tried=None if entry.error else entry.tried)  # type: ignore[arg-type]
        for entry in entries
    }
    return {**table, **fresh}


def _mine(table: Table, name: str, version: str | None) -> list[Entry]:
    """The versions that are meant, oldest first."""
    mine = sorted((e for e in table.values() if e.name == name and not e.gone), key=lambda entry: entry.order)
    if not mine:
        names = sorted({entry.name for entry in table.values()})
        raise NotFound(f"model: got {name!r}, expected one of {names}")
    meant = [entry for entry in mine if version in (None, entry.version)]
    if not meant:
        have = [entry.version for entry in mine]
        raise NotFound(f"model {name!r}: got version {version!r}, expected one of {have}")
    return meant
