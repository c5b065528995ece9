"""HAProxy's Runtime API: one command for each connection to a UNIX socket."""

import socket
from pathlib import Path

from serving.fleet.shortage import is_shortage

PATIENCE = 1.0  # seconds for an answer, which takes HAProxy a tenth of a millisecond


class Unreachable(ConnectionError):
    """No HAProxy answers on the socket."""


class CommandError(RuntimeError):
    """HAProxy refused a command; the message has both."""


class Runtime:
    """Commands to the HAProxy behind a socket."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def ask(self, command: str) -> str:
        """What HAProxy answers.

        Raises:
            Unreachable: it is not there, or stands still.
            OSError: it could not be asked, for want of open files.
        """
        found = bytearray()
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(str(self.path))
                connection.sendall(command.encode() + b"\n")
                while part := connection.recv(2**16):
                    found += part
        except OSError as error:
            if is_shortage(error):
                raise
            raise Unreachable(f"haproxy: {self.path}: {error}") from None
        return found.decode(errors="replace").strip()

    def act(self, command: str, says: str = "") -> None:
        """Have something done, of which HAProxy says nothing, or what holds `says`.

        Raises:
            CommandError: it says something else.
            Unreachable: it is not there, or stands still.
        """
        answer = self.ask(command)
        if answer and not (says and says in answer):
            raise CommandError(f"haproxy: {command!r}: {answer}")

    def information(self) -> dict[str, str]:
        """`show info`: version, process, limits.

        Raises:
            Unreachable: it is not there, or stands still.
        """
        return dict(line.split(": ", 1) for line in self.ask("show info").splitlines() if ": " in line)
