"""Carrying out what the rule wants: a label is moved in the file, and why is logged and kept."""

import asyncio
import logging
from datetime import UTC, datetime

from pnol_jax.errors import InputError
from serving.releases.ledger import Action, Ledger, Pair
from serving.repository import Repository
from serving.repository.labels import FILE, Rule, set_label

log = logging.getLogger("serving")


async def carry_out(action: Action, repository: Repository, model: str, rule: Rule, pair: Pair, ledger: Ledger) -> None:
    """Move the label of `labels.toml`, unless the file says something else by now; nothing else is done twice."""
    event = {"action": action, "model": model, "reason": _reason(action, rule, pair, ledger)}
    base, candidate = pair
    label, before, after = (rule.candidate, candidate, base) if action == "roll_back" else (rule.base, base, candidate)
    path = repository.folder / model / FILE
    try:
        await asyncio.to_thread(set_label, path, label, before, after)
    except (InputError, OSError) as error:
        event["error"] = str(error)
    if any(said["reason"] == event["reason"] for said in ledger.events):
        return
    ledger.events.append({"time": datetime.now(UTC).isoformat(timespec="seconds"), **event})
    outcome = event.get("error", f"label {label} is {after}, it was {before}")
    log.warning("%s: %s: %s; %s", model, action, event["reason"], outcome)
    await asyncio.to_thread(repository.refresh)


def _reason(action: Action, rule: Rule, pair: Pair, ledger: Ledger) -> str:
    found = ledger.comparison(pair, rule)
    worse = action == "roll_back"
    return (
        f"{rule.metric} of version {pair[1]} {'worse' if worse else 'better'} than of {pair[0]} by "
        f"{abs(found['mean_relative_difference']):.1%} over {found['truths']} truths, "
        f"p = {found['p_worse' if worse else 'p_better']:.2g} against a level of {rule.level:g}"
    )
