"""What is said to be free can be listened on, all of it at once."""

import contextlib
import socket

from pnol_jax.ports import LOOPBACK, free_port


def test_free_ports_lie_together_and_skip_those_that_are_taken() -> None:
    with contextlib.ExitStack() as stack:
        taken = set()
        for _ in range(20):
            first = free_port(5)
            for port in range(first, first + 5):
                stack.enter_context(socket.create_server((LOOPBACK, port)))
                taken.add(port)
        assert len(taken) == 100
