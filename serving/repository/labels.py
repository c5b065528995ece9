"""`NAME/labels.toml`: names for versions, shares of traffic between them, and the rule that moves them.

    stable = "3"
    canary = "4"
    [split]                # of requests that name no version; the sum is 1
    stable = 0.9
    canary = 0.1

Every section may be left out. The file is replaced whole, by a rename, never written into.
"""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from pnol_jax import toml
from pnol_jax.errors import InputError
from pnol_jax.files import write_atomically
from serving.rule import Rule

FILE = "labels.toml"
STABLE = "stable"  # what a request gets that names nothing
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

Share = Annotated[float, Meta(ge=0, le=1)]


class Keep(Struct, frozen=True, forbid_unknown_fields=True):
    """Which versions stay loaded: the newest so many (0: all, unless some are listed), and those listed."""

    newest: Annotated[int, Meta(ge=0)] = 0
    versions: tuple[str, ...] = ()


class Sections(Struct, frozen=True, forbid_unknown_fields=True):
    """What the file holds beside the labels."""

    split: dict[str, Share] = {}
    shadow: dict[str, Share] = {}
    rule: Rule | None = None
    keep: Keep | None = None


class Labels(Struct, frozen=True):
    """The file."""

    versions: dict[str, str] = {}
    sections: Sections = Sections()


def read_labels(path: Path) -> Labels:
    """The labels in a file; none if there is no file.

    Raises:
        InputError: no TOML, an unknown key, a section that names a label which is not there, shares that are not 1.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Labels()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}") from None
    versions = {name: value for name, value in tree.items() if isinstance(value, str)}
    sections = toml.parse({name: tree[name] for name in tree if name not in versions}, Sections, str(path))
    _check(versions, sections, str(path))
    return Labels(versions, sections)


def _check(versions: Mapping[str, str], sections: Sections, where: str) -> None:
    rule = sections.rule
    named: dict[str, Any] = {"split": sections.split, "shadow": sections.shadow}
    named["rule"] = (rule.base, rule.candidate) if rule else ()
    for section, labels in named.items():
        unknown = sorted(set(labels) - set(versions))
        if unknown:
            raise InputError(f"{where}: {section}: got the labels {unknown}, expected some of {sorted(versions)}")
    wrong = [name for name in versions if not _LABEL.fullmatch(name)]
    if wrong:
        raise InputError(f"{where}: got the labels {wrong}, expected letters, digits, _ and -, beginning with a letter")
    total = sum(sections.split.values())
    if sections.split and abs(total - 1) > 1e-6:
        raise InputError(f"{where}: split: got shares that add up to {total:g}, expected 1")


def set_label(path: Path, label: str, before: str, version: str) -> None:
    """Let a label of the file stand for another version than before; everything else in the file stays as it is.

    Raises:
        InputError: the file does not say on a line of its own that the label stands for what it did before.
        OSError: it cannot be written.
    """
    head, rest = _split_head(path.read_text(encoding="utf-8"))
    line = re.compile(rf"^[ \t]*{re.escape(label)}[ \t]*=[ \t]*[\"']{re.escape(before)}[\"']", re.MULTILINE)
    changed, count = line.subn(lambda _: f"{label} = {json.dumps(version)}", head)
    if count != 1:
        raise InputError(f'{path}: expected one line {label} = "{before}" before the sections, found {count}')
    write_atomically(path, changed + rest)


def _split_head(text: str) -> tuple[str, str]:
    """The lines before the first section, and the rest."""
    section = re.search(r"^[ \t]*\[", text, re.MULTILINE)
    return (text, "") if section is None else (text[: section.start()], text[section.start() :])
