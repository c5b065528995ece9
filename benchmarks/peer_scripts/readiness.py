"""Saying "ready" once a server answers `GET /health`."""

import threading
import time
import urllib.request


def say_when_ready(port: int) -> None:
    """Ask from a thread until the answer is 200."""

    def wait() -> None:
        while True:
            time.sleep(0.2)
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                    if answer.status == 200:
                        print("ready", flush=True)
                        return
            except OSError:
                continue

    threading.Thread(target=wait, daemon=True).start()
