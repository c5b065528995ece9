"""The image's health check: asks the service in this container whether it is ready; exit status 0 if so.

It finds the service by the variables that the service itself reads, and imports nothing that takes time.
"""

import http.client
import os
import sys
from collections.abc import Mapping

PATH = "/health/ready"
SECONDS = 2.0  # a service that says nothing for so long stands still
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # addresses to listen on, and those that reach them


def ready(environment: Mapping[str, str]) -> bool:
    """Whether the service answers, and that it is ready."""
    host = environment.get("PNOL_SERVING_HOST", "127.0.0.1")
    port = int(environment.get("PNOL_SERVING_PORT", "8080"))
    connection = http.client.HTTPConnection(EVERYWHERE.get(host, host), port, timeout=SECONDS)
    try:
        connection.request("GET", PATH)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if ready(os.environ) else 1)
