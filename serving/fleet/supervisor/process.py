"""The supervisor's process: its lock, its loop, its service, its signals."""

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from pnol_jax.errors import InputError
from serving.access import Guard
from serving.fleet.config import FleetConfig, check_replicas
from serving.fleet.replicas.book import Lock
from serving.fleet.supervisor.reading import Reading
from serving.fleet.supervisor.service import Service, build_service
from serving.fleet.supervisor.supervisor import Supervisor
from serving.listener import address, listen
from serving.monitoring.logs import TEXT
from serving.saying import say

log = logging.getLogger("serving.fleet")


def supervise(config: FleetConfig, reading: Reading, leave: bool) -> None:
    """Tend a fleet until SIGTERM or SIGINT, then end all of it, or with `leave` nothing but the supervisor.

    SIGHUP has all replicas replaced, one by one.

    Raises:
        InputError: something in the config cannot be had, or another supervisor works in the folder.
    """
    logging.basicConfig(level=logging.INFO, format=TEXT, stream=sys.stderr)
    check_replicas(config)
    lock = Lock(config.place())
    try:
        asyncio.run(_run(config, reading, leave))
    finally:
        lock.release()


async def _run(config: FleetConfig, reading: Reading, leave: bool) -> None:
    cores = tuple(sorted(os.sched_getaffinity(0)))
    fleet = Supervisor(config, config.place(), cores, _token(config.replicas.token))
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, _update, fleet, reading)
    listener = None if config.supervisor.port is None else listen(config.supervisor.host, config.supervisor.port)
    await fleet.begin()
    service = await _serve(listener, config, fleet, reading)
    saying = asyncio.create_task(_say(fleet, "" if listener is None else f", supervisor on {address(listener)}"))
    try:
        await fleet.run(stopping)
    except InputError:
        leave = False  # the first replicas could not start
        raise
    except BaseException:
        leave = True  # whatever is wrong here, the fleet need not know
        raise
    finally:
        saying.cancel()
        if service is not None:
            await service.finish()
        if leave:
            fleet.leave()
        else:
            await fleet.end()


async def _serve(
    listener: socket.socket | None, config: FleetConfig, fleet: Supervisor, reading: Reading
) -> Service | None:
    if listener is None:
        return None
    tokens = config.supervisor.tokens or str(config.serving.get("tokens", ""))
    service = Service(build_service(fleet, reading, Guard(Path(tokens)) if tokens else None))
    service.begin(listener)
    await fleet.edge.supervised_at(*listener.getsockname()[:2])
    return service


async def _say(fleet: Supervisor, own: str) -> None:
    await fleet.first_ready.wait()
    say(f"ready on {fleet.edge.balancer.url}{own}")


def _update(fleet: Supervisor, reading: Reading) -> None:
    try:
        fleet.update(reading.settings())
    except InputError as error:
        fleet.decisions.note("no update", str(error), logging.ERROR)


def _token(file: str) -> dict[str, str]:
    """The header that shows a token.

    Raises:
        InputError: the file cannot be read.
    """
    if not file:
        return {}
    try:
        return {"authorization": f"Bearer {Path(file).expanduser().read_text(encoding='utf-8').strip()}"}
    except OSError as error:
        raise InputError(f"replicas.token: {error}") from None
