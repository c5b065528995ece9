"""Devices that a process of its own simulates."""

import os


def flags(count: int) -> str:
    """The XLA_FLAGS of a process with so many devices, after those that all tests compile with."""
    return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}".strip()
