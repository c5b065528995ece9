"""The balancer as the fleet sees it: one HAProxy for each folder, which whoever supervises starts or finds."""

import hashlib
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pnol_jax.errors import InputError
from serving.fleet.balancer import figures, process
from serving.fleet.balancer.config import BalancerConfig
from serving.fleet.balancer.figures import BalancerFigures
from serving.fleet.balancer.render import SOCKET, SUPERVISOR, render
from serving.fleet.balancer.roster import CLOSING, Roster
from serving.fleet.balancer.runtime import Runtime
from serving.fleet.balancer.server import Server
from serving.fleet.identity import Identity
from serving.listener import listen

LONGEST = 90  # bytes of the socket's path: the system takes 107, and HAProxy puts a number behind it at first


class Balancer(Roster):
    """HAProxy and its servers. Calls block, for some milliseconds; used from one thread."""

    def __init__(self, config: BalancerConfig, folder: Path) -> None:
        self.folder = folder.absolute()
        path = self.folder / SOCKET
        if len(str(path).encode()) > LONGEST:
            raise InputError(f"folder: {str(path)!r} is too long for a socket, expected at most {LONGEST} bytes")
        super().__init__(config, Runtime(path))
        self.identity: Identity | None = None
        self._address = (config.host, config.port)
        self._listener: socket.socket | None = None  # held too: while HAProxy is dead, connections wait in it
        self._supervisor: str | None = None
        self._began_with = ""

    @property
    def url(self) -> str:
        """Where clients find it, once it runs."""
        host, port = self._address
        scheme = "https" if self.config.certificate else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"

    @property
    def outdated(self) -> bool:
        """Whether the HAProxy that was found began with other settings, which hold until it is stopped."""
        return self.identity is not None and self._began_with != _digest(self.config)

    def running(self) -> bool:
        """Whether the process is there; one that stands still is."""
        if self.identity is None:
            return False
        if not (alive := self.identity.alive()):
            process.reap(self.identity.pid)
        return alive

    def start(self, servers: Sequence[Server]) -> None:
        """Have HAProxy run with these servers, all of which answer already.

        The one that runs from the folder is taken as it is, with servers that are not among these (see `servers`);
        those that it lacks are added. One that stands still is killed. A new one has these servers alone, with shares
        and states of before.

        Raises:
            InputError: HAProxy is not installed, the address is taken, or it refuses the config.
            OSError: the machine is out of processes, memory or files.
        """
        if self.identity is None and (record := process.recall(self.folder)) is not None:
            self.identity, self._address, self._began_with = record.identity, (record.host, record.port), record.config
        if self.identity is not None and self.running():
            if process.answers(self._runtime, self.identity):
                self._take(servers)
                return
            self._kill(self.identity)
        self._launch(servers)

    def supervised_at(self, host: str, port: int) -> None:
        """Send what the supervisor answers itself there (`render.SUPERVISED`), also later; until then it gets 503."""
        self._runtime.act(f"set server {SUPERVISOR}/{SUPERVISOR} addr {host} port {port}", says="stats socket")
        self._runtime.act(f"set server {SUPERVISOR}/{SUPERVISOR} state ready")
        self._supervisor = Server(SUPERVISOR, host, port).address

    def figures(self) -> BalancerFigures:
        """All requests since HAProxy began.

        Raises:
            Unreachable: it is not there, or stands still.
        """
        return figures.figures(self._runtime)

    def stop(self, seconds: float) -> None:
        """Take no more connections, let requests that are open end for so long, then end it; 0: at once."""
        if self._listener is not None:
            self._listener.close()  # else connections would wait in it for nobody
            self._listener = None
        if self.identity is None or not self.running():
            return
        if seconds > 0:
            self.identity.signal(signal.SIGUSR1)
        if not self.identity.wait(seconds):
            self._kill(self.identity)
        process.reap(self.identity.pid)
        self.identity = None

    def _launch(self, servers: Sequence[Server]) -> None:
        self._begin(servers)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._listener is None:
            self._listener = listen(*self._address)
            self._address = self._listener.getsockname()[:2]
        bind = f"fd@{process.LISTENER}"
        text = render(self.config, self.folder, bind, self._held.values(), self._supervisor)
        with process.written(self.folder / process.CONFIG, text) as config:
            self.identity = process.launch(self.folder, config, self._listener, self._runtime)
        self._began_with = _digest(self.config)
        process.remember(self.folder, process.Record(self.identity, *self._address, self._began_with))
        self._told()

    def _kill(self, identity: Identity) -> None:
        identity.signal(signal.SIGKILL)
        identity.wait(CLOSING)
        process.reap(identity.pid)


def _digest(config: BalancerConfig) -> str:
    return hashlib.sha256(msgspec.json.encode(config)).hexdigest()
