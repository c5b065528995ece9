"""A client of the service: `Client`, and `AsyncClient` for asyncio. It needs NumPy, msgspec and httpx, not JAX."""

from serving.client.asynchronous import AsyncClient
from serving.client.blocking import Client
from serving.client.calls import Asking
from serving.client.derivatives import Derivative, Where
from serving.client.errors import (
    ConnectionLost,
    DeadlineExceeded,
    NotFound,
    Refused,
    ServerFault,
    ServingError,
    TooLarge,
    Unavailable,
)
from serving.client.replies import Channel, Health, Interval, Model, Prediction
from serving.client.retries import Retries
from serving.client.rollouts import Marching, Step

__all__ = [
    "Asking",
    "AsyncClient",
    "Channel",
    "Client",
    "ConnectionLost",
    "DeadlineExceeded",
    "Derivative",
    "Health",
    "Interval",
    "Marching",
    "Model",
    "NotFound",
    "Prediction",
    "Refused",
    "Retries",
    "ServerFault",
    "ServingError",
    "Step",
    "TooLarge",
    "Unavailable",
    "Where",
]
