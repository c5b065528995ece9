"""Who may ask what: scopes by endpoint, bearer tokens, and so many requests a second for each."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from serving.refusals import Forbidden, TooMany, Unauthorized
from serving.tokens import Scope, Token, Tokens

OPEN = frozenset({"/health", "/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"})
BURST_SECONDS = 1.0  # of a token's rate that may come at once, and at least one request


def scope_of(path: str) -> Scope | None:
    """What a path needs; None if anybody may ask it: probes have no tokens."""
    if path in OPEN:
        return None
    if path in ("/predict", "/rollout", "/derivatives", "/feedback") or path.endswith("/infer"):
        return "predict"
    if path.startswith("/v2/repository/models/"):
        return "manage"
    return "read"


@dataclass
class _Bucket:
    """Requests that a holder may still make now; it fills up at the token's rate."""

    left: float
    looked: float

    def take(self, rate: float, now: float) -> float:
        """Take one, and give 0; or, where there is none, the seconds until there is."""
        most = max(1.0, rate * BURST_SECONDS)
        self.left = min(most, self.left + (now - self.looked) * rate)
        self.looked = now
        if self.left < 1:
            return (1 - self.left) / rate
        self.left -= 1
        return 0.0


class Guard:
    """Lets in requests whose token may ask what they ask. Used from one event loop."""

    def __init__(self, file: Path) -> None:
        self._tokens = Tokens(file)
        self._buckets: dict[str, _Bucket] = {}

    def admit(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Let a request in.

        Raises:
            Unauthorized: it has no token, or one that is unknown or has expired.
            Forbidden: its token has not the scope.
            TooMany: its token has been used too often lately.
        """
        self.require(scope_of(path), headers)

    def require(self, scope: Scope | None, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Let in a request that needs a scope; raises as `admit` does."""
        if scope is None:
            return
        given = next((value for name, value in headers if name == b"authorization"), b"").decode("latin-1")
        kind, _, word = given.partition(" ")
        found = self._tokens.find(word.strip()) if kind.lower() == "bearer" else None
        if found is None:
            raise Unauthorized("authorization: got no token that is known, expected 'Bearer TOKEN'")
        name, token = found
        if scope not in token.scopes:
            raise Forbidden(f"authorization: this token is for {', '.join(token.scopes)}, expected one for {scope}")
        self._count(name, token)

    def _count(self, name: str, token: Token) -> None:
        if token.rate is None:
            return
        now = time.monotonic()
        bucket = self._buckets.setdefault(name, _Bucket(max(1.0, token.rate * BURST_SECONDS), now))
        wait = bucket.take(token.rate, now)
        if wait:
            raise TooMany(
                f"got more than {token.rate:g} requests a second with this token, expected at most that",
                max(1, math.ceil(wait)),
            )
