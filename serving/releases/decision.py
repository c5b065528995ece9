"""Carrying out what the rule wants: a label is moved in the file, and why is logged and kept."""

import asyncio
import logging
from datetime import UTC, datetime

from serving.releases.ledger import Action, Ledger, Pair
from serving.repository import Catalogue, Repository
from serving.repository.labels import FILE, Rule, set_label

log = logging.getLogger("serving")


async def carry_out(action: Action, repository: Repository, model: str, rule: Rule, pair: Pair, ledger: Ledger) -> None:
    """Move the label of `labels.toml`, unless it says something else by now, or is being moved already."""
    if ledger.acting or compared(repository.catalogue, model, rule) != pair:
        return
    ledger.acting = True
    try:
        error = await asyncio.to_thread(_move, action, repository, model, rule, pair)
    finally:
        ledger.acting = False
    if error is None or not ledger.events or ledger.events[-1]["error"] != error:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        reason = _reason(action, rule, pair, ledger)
        ledger.events.append({"time": now, "action": action, "reason": reason, "error": error})
        log.warning("%s: %s: %s; %s", model, action, reason, error or "the label is moved")


def compared(catalogue: Catalogue, model: str, rule: Rule | None) -> Pair | None:
    """The versions that a rule compares, if they are two and both answer."""
    if rule is None:
        return None
    labels = catalogue.labels.get(model, {})
    base, candidate = (labels[name].version if name in labels else None for name in (rule.base, rule.candidate))
    return None if base is None or candidate is None or base == candidate else (base, candidate)


def _move(action: Action, repository: Repository, model: str, rule: Rule, pair: Pair) -> str | None:
    """Change the file and read it; why it could not be done, if it could not."""
    (base, candidate), path = pair, repository.folder / model / FILE
    try:
        if action == "roll_back":
            set_label(path, rule.candidate, candidate, base)
        else:
            set_label(path, rule.base, base, candidate)
    except (ValueError, OSError) as error:  # an InputError is a ValueError, as is a text that is no UTF-8
        return str(error)
    repository.refresh()
    for listener in repository.on_write:
        listener()
    return None


def _reason(action: Action, rule: Rule, pair: Pair, ledger: Ledger) -> str:
    found = ledger.comparison(pair, rule)
    worse = action == "roll_back"
    return (
        f"{rule.metric} of version {pair[1]} {'worse' if worse else 'better'} than of {pair[0]} by "
        f"{abs(found['mean_relative_difference']):.1%} over {found['truths']} truths, "
        f"p = {found['p_worse' if worse else 'p_better']:.2g} against a level of {rule.level:g}"
    )
