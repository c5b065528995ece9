"""The repository: notices what changes in the folder, loads it beside the requests, and lets go what is not kept."""

import functools
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pnol_jax.errors import InputError
from serving.ladder import Ladder
from serving.repository.catalogue import Catalogue
from serving.repository.entry import Entry, Fingerprint, Key, loaded, observed
from serving.repository.folder import scan
from serving.repository.labels import FILE, Keep, Labels, read_labels
from serving.repository.loading import Loader
from serving.repository.notices import Notices
from serving.repository.settling import settle
from serving.settings import Settings

log = logging.getLogger("serving")
Table = Mapping[Key, Entry]


class Repository:
    """The versions that were found. Look-ups are from any thread and never wait for a load.

    A request keeps the programs that it began with; those of a version that was unloaded are freed with the last.
    `on_leave` is called with every entry whose programs cannot be found any more, in whichever thread let them go; it
    must not wait.
    """

    def __init__(self, settings: Settings) -> None:
        self.folder = Path(settings.models)
        self.on_leave: list[Callable[[Entry], None]] = []
        self._keep = Keep(settings.keep_versions)
        self._poll_seconds = settings.poll_seconds
        self._loader = Loader(settings)
        self._catalogue = Catalogue()
        self._changed = threading.Condition(threading.RLock())
        self._loading: set[tuple[Key, Fingerprint]] = set()
        self._stopping = threading.Event()
        self._notices = Notices()

    @property
    def catalogue(self) -> Catalogue:
        """Versions and labels at this moment."""
        return self._catalogue

    def find(self, name: str | None, version: str | None = None) -> Ladder:
        """A version that is ready, by its number or a label; see `Catalogue.find`.

        Raises:
            NotFound: there is none.
        """
        return self._catalogue.find(name, version)

    def entries(self) -> list[Entry]:
        """Every version, oldest first within a model; those whose folder is gone while requests still use them."""
        return [entry for entry in self._catalogue.entries if not entry.gone or entry.in_use]

    def load(self) -> None:
        """Load what the policy wants of the folder, and wait for it."""
        self.refresh()
        self.wait()

    def expect(self, entries: Sequence[Entry]) -> None:
        """Begin with versions of which something is known before the first look at the folder."""
        self._catalogue = Catalogue({entry.key: entry for entry in entries})

    def watch(self) -> None:
        """Go on looking at the folder in the background, if the settings want it."""
        if self._poll_seconds:
            threading.Thread(target=self._poll, name="repository", daemon=True).start()

    def stop(self) -> None:
        """Load nothing more."""
        self._stopping.set()
        self._loader.stop()
        with self._changed:
            self._changed.notify_all()

    def wait(self, model: str | None = None) -> None:
        """Until nothing is being loaded, of one model or at all, or the repository is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopping.is_set() or not self._is_loading(model))

    def refresh(self) -> None:
        """Look at the folder, and begin to load and let go what follows from it."""
        with self._changed:
            try:
                found = scan(self.folder)
            except OSError as error:  # what was loaded goes on serving
                self._notices.say(str(self.folder), str(error))
                return
            self._notices.say(str(self.folder), "")
            files = {name: self._labels(name) for name in sorted({name for name, _ in found})}
            self.change(lambda table: observed(table, found), files)

    def change(self, edit: Callable[[Table], Table], files: Mapping[str, Labels] | None = None) -> None:
        """Edit the table, and do what follows from it; those who look up see the old catalogue or the new one."""
        with self._changed:
            before = self._catalogue
            settled = settle(before, edit(before.table), before.files if files is None else files, self._keep)
            if settled.catalogue != before:  # what was answered unread holds for one catalogue
                self._catalogue = settled.catalogue
            self._notices.say_labels(self._catalogue)
            for key in settled.load:
                self._begin(key)
            self._changed.notify_all()
        for entry in settled.left:
            log.info("%s/%s: its programs are let go once no request uses them", *entry.key)
            self._report(entry)

    def _begin(self, key: Key) -> None:
        attempt = (key, self._catalogue.table[key].fingerprint)
        if attempt not in self._loading:
            self._loading.add(attempt)
            self._loader.submit(self.folder.joinpath(*key), functools.partial(self._end, attempt))

    def _end(self, attempt: tuple[Key, Fingerprint], outcome: Ladder | str) -> None:
        key, fingerprint = attempt

        def edit(table: Table) -> Table:
            entry = table.get(key)
            if entry is None or entry.gone or entry.tried != fingerprint:  # changed, or unloaded, in the meantime
                return table
            return {**table, key: loaded(entry, outcome if isinstance(outcome, str) else outcome.after(entry.ladder))}

        if isinstance(outcome, str) and not self._stopping.is_set():
            log.error("%s/%s: %s", *key, outcome)
        with self._changed:
            self._loading.discard(attempt)
            self.change(edit)

    def _report(self, entry: Entry) -> None:
        for listener in self.on_leave:
            try:
                listener(entry)
            except Exception:  # one that fails keeps neither the others nor the repository from their work
                log.exception("%s/%s: a listener failed", *entry.key)

    def _is_loading(self, model: str | None) -> bool:
        return any(model in (None, name) for (name, _), _ in self._loading)

    def _labels(self, model: str) -> Labels:
        """The labels in a model's folder; those that held before if the file is wrong."""
        path = self.folder / model / FILE
        try:
            labels = read_labels(path)
        except InputError as error:
            self._notices.say(str(path), str(error))
            return self._catalogue.files.get(model, Labels())
        self._notices.say(str(path), "")
        return labels

    def _poll(self) -> None:
        while not self._stopping.wait(self._poll_seconds):
            try:
                self.refresh()
            except Exception:  # the next look may find a better folder
                log.exception("%s: the folder could not be looked at", self.folder)
