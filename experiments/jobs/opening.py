"""Opening a pool where the settings say."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from experiments.jobs.pool import Here, Pool, interruptible
from experiments.jobs.settings import PoolConfig
from pnol_jax.errors import InputError


@contextmanager
def open_pool(settings: PoolConfig, title: str = "tasks") -> Iterator[Pool]:
    """A pool while the context lasts; tasks that are not done at its end are dropped.

    Workers are fresh processes, never forked. SIGTERM comes as a KeyboardInterrupt, like SIGINT.

    Raises:
        InputError: the machine has fewer cores, devices or memory than asked for, no scheduler answers, or dask is
            not installed.
    """
    with ExitStack() as stack:
        stack.enter_context(interruptible())
        pool = Here(title) if settings.place == "here" else stack.enter_context(_cluster(settings, title))
        stack.enter_context(pool.shown())
        yield pool


@contextmanager
def _cluster(settings: PoolConfig, title: str) -> Iterator[Pool]:
    try:
        from experiments.jobs import cluster  # only now: most commands work in one process, without dask
    except ImportError as error:
        raise InputError(f"several workers need {error.name}: pip install 'pnol-jax[jobs]'") from None
    with cluster.open_cluster(settings, title) as pool:
        yield pool
