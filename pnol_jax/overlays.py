"""Files of keys that are laid over a config: `posteriors/ensemble.toml` makes an ensemble of any experiment."""

from typing import Any

import msgspec


def is_overlay(word: str) -> bool:
    """Whether a word among overrides is the path of such a file."""
    return word.endswith(".toml") and "=" not in word


def overlaid(tree: dict[str, Any], overlay: dict[str, Any], schema: Any) -> dict[str, Any]:
    """The tree with the keys of an overlay in it, table by table; lists and values are replaced.

    A section of the schema that can be of several kinds, such as `posterior`, is replaced whole where the overlay makes
    it one of another kind: the keys of the one mean nothing to the other.
    """
    kinds = {field.name: _default_kind(field) for field in msgspec.structs.fields(schema)}
    kept = {key: value for key, value in tree.items() if not _changes(value, overlay.get(key), kinds.get(key))}
    return _merged(kept, overlay)


def _default_kind(field: Any) -> str | None:
    """The name of the kind that a section is of where it does not say; None if there is one kind only."""
    kind = getattr(field.default, "__struct_config__", None)
    return "" if kind is None and field.default is msgspec.NODEFAULT else getattr(kind, "tag", None)


def _changes(section: Any, overlay: Any, default: str | None) -> bool:
    if default is None or not isinstance(section, dict) or not isinstance(overlay, dict):
        return False
    before = section.get("name", default)
    return bool(overlay.get("name", before) != before)


def _merged(tree: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    merged = dict(tree)
    for key, value in overlay.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
