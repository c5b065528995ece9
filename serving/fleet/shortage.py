"""What fails for want of something of this process's own, which says nothing of the one that was to be asked."""

import contextlib
import errno
from collections.abc import Callable, Iterator

OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})


def is_shortage(error: BaseException) -> bool:
    """Whether it is of open files, memory or ports."""
    return isinstance(error, OSError) and error.errno in OURS


class Shortages:
    """Told to `note` once each, however often something fails for it."""

    def __init__(self, note: Callable[[str], object]) -> None:
        self._note = note
        self._last: int | None = None

    @contextlib.contextmanager
    def borne(self) -> Iterator[None]:
        """What fails inside for a shortage is left for the next time."""
        try:
            yield
        except OSError as error:
            if not is_shortage(error):
                raise
            if error.errno != self._last:
                self._note(str(error))
            self._last = error.errno
        else:
            self._last = None
