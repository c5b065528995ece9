"""The listening socket."""

import socket

from pnol_jax.errors import InputError

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address; on port 0, on one that is free.

    Raises:
        InputError: it cannot be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InputError(f"address {host}:{port}: {error}") from None


def address(listener: socket.socket) -> str:
    """Its URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
