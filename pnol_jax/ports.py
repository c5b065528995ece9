"""TCP ports of this machine that nobody listens on."""

import contextlib
import errno
import socket

LOOPBACK = "127.0.0.1"


def free_port(together: int = 1) -> int:
    """A port that is free now on the loopback interface, and so are those after it, `together` in all.

    Another process may take one before it is used: who listens there must bear that it is taken.

    Raises:
        OSError: this process may open no more sockets.
    """
    while True:
        with contextlib.ExitStack() as stack:
            first: int = stack.enter_context(socket.create_server((LOOPBACK, 0))).getsockname()[1]
            try:
                for port in range(first + 1, first + together):
                    stack.enter_context(socket.create_server((LOOPBACK, port)))
            except OverflowError:  # past the last port
                continue
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            return first
