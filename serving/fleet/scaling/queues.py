"""How many replicas a load needs: Erlang's formula for c servers and one queue.

Load is the arrival rate times the mean service time: the servers that are busy on average. Arrivals are Poisson; for
service times that are not exponential the wait is scaled as Allen and Cunneen do (1990, "Probability, Statistics and
Queueing Theory", section 5.2).
"""

import math

LIMIT = 100_000  # servers, beyond which nobody looks


def chance_of_waiting(servers: int, load: float) -> float:
    """That an arrival finds all servers busy (Erlang's C); 1 where the load is the servers' number or more."""
    if load >= servers:
        return 1.0
    blocked = 1.0  # Erlang's B, by its recursion over servers
    for number in range(1, servers + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def mean_wait(servers: int, load: float, service: float, variability: float = 1.0) -> float:
    """Seconds in the queue of an arrival.

    Args:
        servers: at least 1
        load: mean number of busy servers
        service: mean seconds of a request
        variability: standard deviation of the service time over its mean
    """
    if load >= servers:
        return math.inf
    return chance_of_waiting(servers, load) * service / (servers - load) * (1 + variability**2) / 2


def chance_of_longer(servers: int, load: float, service: float, seconds: float, variability: float = 1.0) -> float:
    """That an arrival waits for more than so many seconds; arguments as of `mean_wait`."""
    if load >= servers:
        return 1.0
    pace = (servers - load) / service / ((1 + variability**2) / 2)
    return chance_of_waiting(servers, load) * math.exp(-pace * seconds)


def servers_for_mean(load: float, service: float, target: float, variability: float = 1.0) -> int:
    """The fewest servers with a mean wait of at most `target` seconds."""
    servers = math.floor(load) + 1
    while servers < LIMIT and mean_wait(servers, load, service, variability) > target:
        servers += 1
    return servers


def servers_for_share(load: float, service: float, seconds: float, share: float, variability: float = 1.0) -> int:
    """The fewest servers at which this share of the arrivals waits for at most so many seconds."""
    servers = math.floor(load) + 1
    while servers < LIMIT and chance_of_longer(servers, load, service, seconds, variability) > 1 - share:
        servers += 1
    return servers
