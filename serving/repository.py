"""The models in a folder, NAME/VERSION/, loaded and verified; a broken version says why, and the others serve."""

import logging
import re
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pnol_jax.errors import InputError
from pnol_jax.servable import Answers, load_servable
from serving.ladder import Ladder, compile_ladder
from serving.refusals import NotFound
from serving.settings import Settings

log = logging.getLogger("serving")


@dataclass(frozen=True)
class Entry:
    """A version in the folder: its compiled programs, or why there are none."""

    name: str
    version: str
    ladder: Ladder | None
    error: str | None = None

    @property
    def state(self) -> Literal["ready", "failed"]:
        """Whether it answers requests."""
        return "failed" if self.ladder is None else "ready"


class Repository:
    """The versions that were found. Loading happens in one thread, look-ups in any."""

    def __init__(self, settings: Settings) -> None:
        self.folder = Path(settings.models)
        self._sizes: dict[Answers, tuple[int, ...]] = {
            "moments": settings.batch_sizes,
            "samples": settings.samples_batch_sizes,
        }
        self._entries: dict[tuple[str, str], Entry] = {}
        self._lock = threading.Lock()
        self._stopping = False

    def load(self) -> None:
        """Load every version in the folder, one after the other."""
        paths = [path for path in sorted(self.folder.glob("*/*")) if path.is_dir()]
        for path in paths:
            if self._stopping:
                return
            if not (path.name.startswith(".") or path.parent.name.startswith(".")):
                entry = self._load(path)
                with self._lock:
                    self._entries[entry.name, entry.version] = entry

    def stop(self) -> None:
        """Load no further version."""
        self._stopping = True

    def _load(self, path: Path) -> Entry:
        name, version = path.parent.name, path.name
        try:
            servable = load_servable(path)
            manifest = servable.manifest
            if (manifest.name, manifest.version) != (name, version):
                raise InputError(f"servable {path}: its manifest says {manifest.name}/{manifest.version}")
            return Entry(name, version, compile_ladder(servable, self._sizes))
        except Exception as error:  # whatever one version does, the others serve
            if not isinstance(error, InputError):
                log.exception("%s/%s failed to load", name, version)
            return Entry(name, version, None, str(error) or type(error).__name__)

    def entries(self) -> list[Entry]:
        """Every version, oldest first within a model."""
        with self._lock:
            return sorted(self._entries.values(), key=lambda entry: (entry.name, _order(entry.version)))

    def find(self, name: str | None, version: str | None = None) -> Ladder:
        """A version that is ready: the newest if none is named; the model may stay unnamed if there is only one.

        Raises:
            NotFound: there is none.
        """
        entries = self.entries()
        names = sorted({entry.name for entry in entries})
        if name is None and len(names) != 1:
            raise NotFound(f"model: none was named, expected one of {names}")
        chosen = name or names[0]
        mine = [entry for entry in entries if entry.name == chosen]
        if not mine:
            raise NotFound(f"model: got {chosen!r}, expected one of {names}")
        ready = [entry for entry in mine if version in (None, entry.version) and entry.ladder is not None]
        if not ready or ready[-1].ladder is None:
            have = [f"{entry.version} ({entry.state})" for entry in mine]
            raise NotFound(f"model {chosen!r}: got version {version!r}, expected one that is ready of {have}")
        return ready[-1].ladder


def _order(version: str) -> list[tuple[int, str]]:
    """Versions in the order that a person counts them: 2 before 10, v1.9 before v1.10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", version) if part]
