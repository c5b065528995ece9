"""Bearer tokens: a TOML file of their hashes, and the command that makes one.

    [alice]
    sha256 = "..."                    # of the token, which is random and stands nowhere else
    scopes = ["predict", "read"]
    expires = 2027-01-31              # optional
    rate = 50.0                       # requests a second, optional

`python -m serving.tokens FILE NAME --scopes predict read` prints a new token and adds its hash to the file. The file is
read again when it has changed: a token is withdrawn, or a new one let in, without a restart.
"""

import argparse
import datetime
import hashlib
import hmac
import logging
import math
import os
import re
import secrets
import sys
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from pnol_jax import toml
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically

log = logging.getLogger("serving")
Scope = Literal["predict", "read", "manage"]
SCOPES: tuple[Scope, ...] = ("predict", "read", "manage")
LOOK_SECONDS = 1.0  # between looks at whether the file has changed
BYTES = 32


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """What a token may do."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)]
    expires: datetime.date | None = None
    rate: Annotated[float, Meta(gt=0)] | None = None


def read_tokens(path: Path) -> dict[str, Token]:
    """The tokens in a file.

    Raises:
        InputError: it cannot be read, or says something else.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"tokens {path}: {error}") from None
    for name, section in tree.items():
        if not isinstance(section, dict):
            raise InputError(f"tokens {path}: got {name} = {section!r}, expected sections [NAME] only")
    return {name: toml.parse(section, Token, f"tokens {path}: {name}") for name, section in tree.items()}


class Tokens:
    """The tokens of a file, as it is now; if it is wrong, as it was before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = self._look()
        self._looked = time.monotonic()
        self._held = read_tokens(path)

    def find(self, token: str) -> tuple[str, Token] | None:
        """Its holder and what it may do; None if it is none of the file's, or has expired.

        All hashes are compared, each in constant time.
        """
        self._refresh()
        digest = hashlib.sha256(token.encode()).hexdigest()
        matching = [item for item in self._held.items() if hmac.compare_digest(item[1].sha256, digest)]
        today = datetime.datetime.now(datetime.UTC).date()
        return next((item for item in matching if item[1].expires is None or today <= item[1].expires), None)

    def _refresh(self) -> None:
        if time.monotonic() < self._looked + LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        if (stamp := self._look()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._held = read_tokens(self._path)
        except InputError as error:
            log.error("%s; the tokens from before hold", error)
        else:
            log.info("tokens: %d from %s", len(self._held), self._path)

    def _look(self) -> tuple[int, int, int] | None:
        try:
            about = os.stat(self._path)
        except OSError:
            return None
        return about.st_mtime_ns, about.st_size, about.st_ino


def add_token(file: Path, name: str, scopes: Sequence[Scope], rate: float | None = None) -> str:
    """Make a token for a holder, for so many requests a second, and add its hash to a file, which is made if need be.

    Raises:
        InputError: the file says something else, or has this holder; a name or a rate that is none.
    """
    if rate is not None and not 0 < rate < math.inf:
        raise InputError(f"rate: got {rate:g}, expected more than 0 requests a second")
    known = read_tokens(file) if file.exists() else {}
    if name in known or not re.fullmatch("[A-Za-z0-9_-]+", name):
        raise InputError(f"name: got {name!r}, expected letters, digits, - and _, and none that is there")
    token = secrets.token_urlsafe(BYTES)
    digest = hashlib.sha256(token.encode()).hexdigest()
    before = file.read_text(encoding="utf-8").rstrip() + "\n\n" if file.exists() else ""
    listed = ", ".join(f'"{scope}"' for scope in scopes)
    limit = "" if rate is None else f"rate = {rate}\n"
    write_atomically(file, f'{before}[{name}]\nsha256 = "{digest}"\nscopes = [{listed}]\n{limit}')
    return token


def main(arguments: Sequence[str]) -> int:
    """Make a token; 2 if something handed over is wrong."""
    parser = argparse.ArgumentParser(prog="python -m serving.tokens", description="Make a bearer token.")
    parser.add_argument("file", type=Path, help="the TOML file of hashes, made if need be")
    parser.add_argument("name", help="of its holder")
    parser.add_argument("--scopes", nargs="+", choices=SCOPES, default=["predict", "read"])
    parser.add_argument("--rate", type=float, metavar="N", help="requests a second, at most (any number)")
    asked = parser.parse_args(arguments)
    try:
        token = add_token(asked.file, asked.name, asked.scopes, asked.rate)
    except InputError as error:
        print(f"serving.tokens: {error}", file=sys.stderr)
        return 2
    print(token)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
