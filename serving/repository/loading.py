"""Loading versions in threads of their own: read, verified, compiled, replayed, warm."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from pnol_jax.errors import InputError
from pnol_jax.servable import Answers, Manifest, check_name, load_servable
from serving.devices import served_devices
from serving.ladder import Ladder, compile_ladder
from serving.settings import Settings

log = logging.getLogger("serving")

# At the first use of a struct msgspec works out what it is; two threads that do so at once end in a segmentation fault.
msgspec.json.Decoder(Manifest)


class Loader:
    """Loads `load_threads` versions at a time; their programs share as many compiling threads."""

    def __init__(self, settings: Settings) -> None:
        self._sizes: dict[Answers, tuple[int, ...]] = {
            "moments": settings.batch_sizes,
            "samples": settings.samples_batch_sizes,
            "functional": settings.samples_batch_sizes,
        }
        self._devices = served_devices(settings.devices)
        self._versions = ThreadPoolExecutor(settings.load_threads, "load")
        self._programs = ThreadPoolExecutor(settings.load_threads, "compile")
        self._stopped = False

    def submit(self, path: Path, done: Callable[[Ladder | str], None]) -> None:
        """Begin to load NAME/VERSION/; `done` gets the programs or why there are none, in the thread that loaded."""
        if not self._stopped:
            self._versions.submit(lambda: done(self._load(path)))

    def stop(self) -> None:
        """Begin nothing more; what is being compiled ends by itself."""
        self._stopped = True
        self._versions.shutdown(wait=False, cancel_futures=True)
        self._programs.shutdown(wait=False, cancel_futures=True)

    def _load(self, path: Path) -> Ladder | str:
        started = time.monotonic()
        name, version = path.parent.name, path.name
        try:
            ladder = self._compiled(path)
        except Exception as error:  # whatever one version does, the others serve
            if not isinstance(error, InputError | OSError) and not self._stopped:
                log.exception("%s/%s failed to load", name, version)
            return str(error) or type(error).__name__
        log.info("%s/%s: loaded in %.1f s", name, version, time.monotonic() - started)
        return ladder

    def _compiled(self, path: Path) -> Ladder:
        name, version = check_name(path.parent.name, "model"), check_name(path.name, "version")
        servable = load_servable(path)
        manifest = servable.manifest
        if (manifest.name, manifest.version) != (name, version):
            raise InputError(f"servable {path}: its manifest says {manifest.name}/{manifest.version}")
        return compile_ladder(servable, self._sizes, self._programs, self._devices)
