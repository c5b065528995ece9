"""Settings of the process' memory that must be made before anything else runs in it.

XLA's CPU client takes its temporary arena, hundreds of megabytes, fresh from malloc at every call. glibc answers such a
request with new pages of the kernel, and the page faults cost as much as the arithmetic. Told to keep its memory, it
hands the same pages out again.
"""

import ctypes
import sys

# The parameters' numbers in <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER = 2**31 - 1
_TOP_PAD = 256 * 2**20


def keep_arena() -> bool:
    """Let malloc keep what it has taken, in one arena, and let JAX run CPU programs in the calling thread.

    To be called first in a process, before a second thread allocates: with more than one arena only the main thread
    gains. The process then keeps its largest size to its end. Returns whether malloc took the settings; where the C
    library is not glibc they do not exist, and only the setting of JAX is made.
    """
    taken = _configure_malloc()
    import jax  # only now: importing it allocates and starts threads

    jax.config.update("jax_cpu_enable_async_dispatch", False)  # type: ignore[no-untyped-call]
    return taken


def _configure_malloc() -> bool:
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    settings = {
        _M_ARENA_MAX: 1,
        _M_MMAP_MAX: 0,
        _M_TRIM_THRESHOLD: _NEVER,
        _M_TOP_PAD: _TOP_PAD,
    }
    taken = [library.mallopt(parameter, value) for parameter, value in settings.items()]
    return all(taken)
