"""Carrying out what the rule wants: a label is moved in the file, and why is logged and kept."""

import asyncio
import logging
from datetime import UTC, datetime

from serving.releases.ledger import Action, Decision, Event, Pair
from serving.repository import Catalogue, Repository
from serving.repository.labels import FILE, set_label
from serving.rule import Rule

log = logging.getLogger("serving")


async def carry_out(decision: Decision, model: str, repository: Repository) -> Event | None:
    """Move the label of `labels.toml`; None if it says something else by now, or stays for the reason of last time."""
    found, rule = decision.comparison, decision.rule
    pair = found.base, found.candidate
    await asyncio.to_thread(repository.refresh)  # another process may have moved it just now
    if compared(repository.catalogue, model, rule) != pair:
        return None
    error = await asyncio.to_thread(_move, decision.action, repository, model, rule, pair)
    if error is not None and error == decision.error:
        return None
    reason = _reason(decision)
    log.warning("%s: %s: %s; %s", model, decision.action, reason, error or "the label is moved")
    return Event(datetime.now(UTC).isoformat(timespec="seconds"), decision.action, reason, error)


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
    return None


def _reason(decision: Decision) -> str:
    found, rule, worse = decision.comparison, decision.rule, decision.action == "roll_back"
    return (
        f"{rule.metric} of version {found.candidate} {'worse' if worse else 'better'} than of {found.base} by "
        f"{abs(found.mean_relative_difference):.1%} over {found.truths} truths, "
        f"p = {found.p_worse if worse else found.p_better:.2g} against a level of {rule.level:g}"
    )
