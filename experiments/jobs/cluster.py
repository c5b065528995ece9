"""A pool with workers of dask.distributed: processes of this machine, SLURM jobs, or those of a running scheduler."""

import importlib.util
import logging
import os
import queue
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Security
from distributed.system import MEMORY_LIMIT

from experiments.jobs import slots
from experiments.jobs.pool import Outcome, Pool, Task
from experiments.jobs.settings import PoolConfig
from experiments.jobs.slurm import slurm_cluster
from experiments.jobs.worker import Slots
from pnol_jax.errors import InputError

# A worker is sent one task at a time, so that its death is held against that task alone. It neither pauses nor spills:
# what malloc keeps would look like memory in use for ever after. A task may keep Python's lock for long: not dead yet.
CONFIG = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.worker-ttl": "1 hour",
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
# A worker of this machine that dies is started again, which takes a while if the cores are busy: not lost meanwhile.
PATIENCE = {"distributed.deploy.lost-worker-timeout": "1 hour"}
QUIET = {"DASK_LOGGING__DISTRIBUTED": "critical"}  # for workers of this machine, whose output is the terminal's
TALKERS = ("distributed", "distributed.client", "distributed.gc", "tornado.application")  # each has a level of its own
CONNECT_SECONDS = 10
TICK_SECONDS = 1.0


class WorkersDied(RuntimeError):
    """So many workers died at a task that it was given up."""


class Cluster(Pool):
    """Runs tasks on the workers of a dask client."""

    def __init__(self, title: str, client: Client, settings: PoolConfig) -> None:
        super().__init__(title)
        self._client, self._settings = client, settings
        self._names: dict[str, str] = {}
        self._futures: dict[str, Future[Any]] = {}  # held, as dask drops what nobody holds
        self._ready: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._counted = (-TICK_SECONDS, 0)

    def _start(self, task: Task) -> None:
        key = f"{task.name}-{uuid.uuid4().hex}"  # a scheduler may have other users, with tasks of the same name
        self._names[key] = task.name
        self._futures[key] = self._client.submit(
            task.function, *task.arguments, key=key, priority=task.priority, retries=task.retries, fifo_timeout="0s"
        )
        self._futures[key].add_done_callback(self._ready.put)  # type: ignore[no-untyped-call]

    def _next(self) -> Outcome:
        while True:
            try:
                future = self._ready.get(timeout=TICK_SECONDS)
                break
            except queue.Empty:
                self._show()
        name = self._names.pop(str(future.key))
        del self._futures[str(future.key)]
        if future.status == "finished":
            return Outcome(name, future.result())
        return Outcome(name, error=self._error(future))

    def _error(self, future: Future[Any]) -> BaseException:
        if future.status != "error":
            return RuntimeError(f"the connection to the scheduler was lost ({future.status})")
        error = future.exception()  # type: ignore[no-untyped-call]
        if not isinstance(error, KilledWorker):
            return error if isinstance(error, BaseException) else RuntimeError(str(error))
        memory = self._settings.memory or "an equal share of the machine's"
        return WorkersDied(f"{error.allowed_failures + 1} workers died at it; the memory of each was {memory}")

    def _workers(self) -> int:
        now = time.monotonic()
        if now - self._counted[0] >= TICK_SECONDS:
            self._counted = (now, len(self._client.scheduler_info().get("workers", ())))
        return self._counted[1]


@contextmanager
def open_cluster(settings: PoolConfig, title: str) -> Iterator[Cluster]:
    """A pool on the workers that the settings ask for.

    Raises:
        InputError: there is less of something than asked for, or no scheduler answers.
    """
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(CONFIG | {"distributed.scheduler.allowed-failures": settings.deaths - 1}))
        stack.enter_context(dask.config.set(PATIENCE if settings.place == "local" else {}))
        stack.enter_context(_quiet())
        stack.enter_context(environment(variables(settings) | QUIET))
        client = stack.enter_context(closing(_connect(settings, stack)))
        if settings.place == "local":
            client.register_plugin(Slots(slots.deal_cores(settings), slots.deal_devices(settings)))
        elif settings.place in CLUSTERS:
            client.register_plugin(Slots())  # the workers of a scheduler that runs already are left as they are
        pool = Cluster(title, client, settings)
        if settings.dashboard:
            pool.say(f"dashboard: {_dashboard(client, settings)}")
        yield pool


def _connect(settings: PoolConfig, stack: ExitStack) -> Client:
    address: Any = settings.where
    if settings.place in CLUSTERS:
        address = stack.enter_context(closing(CLUSTERS[settings.place](settings, _security())))
    try:
        return Client(address, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise InputError(f"jobs.where: no scheduler answers at {settings.where}: {error}") from None


def _dashboard(client: Client, settings: PoolConfig) -> str:
    """Its address. It asks for no password, so a pool's own is for this machine alone; from elsewhere by ssh -L."""
    if settings.place in CLUSTERS:
        return f"http://127.0.0.1:{client.scheduler_info()['services']['dashboard']}/status"
    return str(client.dashboard_link)


def _local(settings: PoolConfig, security: Security | None) -> LocalCluster:
    slots.deal_cores(settings), slots.deal_devices(settings)  # refused before anything is started
    return LocalCluster(  # type: ignore[no-untyped-call]
        host="127.0.0.1",
        n_workers=settings.workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=slots.share_of_memory(settings, MEMORY_LIMIT),
        scheduler_kwargs={"dashboard": settings.dashboard, "dashboard_address": "127.0.0.1:0"},
        silence_logs=logging.CRITICAL,
        security=security,
    )


def _slurm(settings: PoolConfig, security: Security | None) -> Any:
    return slurm_cluster(settings, security, variables(settings), CONFIG)


CLUSTERS: dict[str, Callable[[PoolConfig, Security | None], Any]] = {"local": _local, "slurm": _slurm}


def _security() -> Security | None:
    """Keys made for this pool, without which nobody can talk to its scheduler; needs the package cryptography."""
    if importlib.util.find_spec("cryptography") is None:
        return None
    keys: Security = Security.temporary()  # type: ignore[no-untyped-call]
    return keys


def variables(settings: PoolConfig) -> dict[str, str]:
    """Environment variables that a worker must find when its process starts: only then do the libraries read them."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(settings.threads))
    return threads | {"MALLOC_ARENA_MAX": "1"}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep dask from narrating what the pool itself reports, an interrupted wait included."""
    before = {logger: logger.level for logger in map(logging.getLogger, TALKERS)}
    for logger in before:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that processes started meanwhile inherit; what dask itself sets there goes with them."""
    of_dask = ("PYTHONHASHSEED", *dask.config.get("distributed.nanny.pre-spawn-environ"))
    before = {name: os.environ.get(name) for name in (*values, *of_dask)}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
