"""A client of the service: `Client`, and `AsyncClient` for asyncio. It needs NumPy, msgspec and httpx, not JAX."""

from serving.client.asynchronous import AsyncClient
from serving.client.blocking import Client
from serving.client.calls import Asking
from serving.client.errors import (
    Abstained,
    ConnectionLost,
    DeadlineExceeded,
    NotFound,
    Refused,
    ServerFault,
    ServingError,
    TooLarge,
    Unavailable,
)
from serving.client.replies import (
    Abstention,
    Channel,
    Exceedance,
    Functional,
    Health,
    Interval,
    Model,
    Prediction,
    Quantiles,
)
from serving.client.retries import Retries

__all__ = [
    "Abstained",
    "Abstention",
    "Asking",
    "AsyncClient",
    "Channel",
    "Client",
    "ConnectionLost",
    "DeadlineExceeded",
    "Exceedance",
    "Functional",
    "Health",
    "Interval",
    "Model",
    "NotFound",
    "Prediction",
    "Quantiles",
    "Refused",
    "Retries",
    "ServerFault",
    "ServingError",
    "TooLarge",
    "Unavailable",
]
