"""A truth that came: the versions that it concerns are asked again, scored, and compared as the rule says.

Both versions of the rule are scored on every truth, whichever of them had answered: a prediction does not change what
comes true, and differences on the same case say more than means over different ones.
"""

import asyncio
import hashlib
import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pnol_jax.errors import InputError
from serving.query import Query
from serving.refusals import Unavailable
from serving.releases.decision import carry_out, compared
from serving.releases.ledger import Counted, Scored
from serving.releases.memory import Asked
from serving.releases.scores import fit_truth, score
from serving.releases.service import ReleasingService, bare
from serving.releases.tally import LOST, Scores
from serving.repository.labels import Labels
from serving.rule import Rule

log = logging.getLogger("serving")
OUTPUTS = ("mean", "std", "lower", "upper")


@dataclass(frozen=True)
class Judged:
    """What a truth said of each version; `counted`: it was not given before of the version that answered."""

    model: str
    version: str
    scores: dict[str, Scores]
    counted: bool


async def judge(service: ReleasingService, asked: Asked, truth: NDArray[np.float64]) -> Judged:
    """Score the versions on a truth, (cases, *space, channels) as the answer was, and do what follows.

    Raises:
        NotFound: the version that answered is not loaded any more.
        Refusal, InputError: the truth or the inputs do not fit.
        Unavailable: the queue is full, or the deadline passed, or the ledgers cannot be reached.
    """
    catalogue, model = service.repository.catalogue, asked.model
    rule = catalogue.files.get(model, Labels()).sections.rule
    pair = compared(catalogue, model, rule)
    scores = {asked.version: await _score(service, asked.query, asked.version, truth, rule or Rule())}
    for version in set(pair or ()) - {asked.version}:
        try:
            scores[version] = await _score(service, asked.query, version, truth, rule or Rule())
        except (InputError, Unavailable) as error:
            log.info("%s/%s could not be scored on a truth: %s", model, version, error)
        except Exception:  # its own fault, which counts against it
            log.exception("%s/%s failed on a request whose truth is known", model, version)
            scores[version] = LOST
    scored = Scored(model, _digest(asked.query, truth), scores, rule, pair)
    counting = service.keep(_count(service, scored))
    counted = await asyncio.shield(counting)  # whoever leaves now does not leave an action half done
    return Judged(model, asked.version, scores, asked.version in counted.new)


async def _count(service: ReleasingService, scored: Scored) -> Counted:
    counted, event = await service.truths.count(scored), None
    if counted.decision is not None:
        try:
            event = await carry_out(counted.decision, scored.model, service.repository)
        finally:
            await service.truths.conclude(scored.model, event)
    return counted


async def _score(
    service: ReleasingService, query: Query, version: str, truth: NDArray[np.float64], rule: Rule
) -> Scores:
    """Of what a version answers, which is often still in the cache."""
    asked = bare(query, version, outputs=OUTPUTS, level=rule.coverage, timeout=None, priority="low")
    answer = await service.ask(asked)
    fields = [np.asarray(answer.arrays[name], np.float64) for name in OUTPUTS]
    fields.append(fit_truth(truth, fields[0].shape))
    if fields[0].ndim == len(answer.manifest.signature.axes) + 1:
        fields = [field[None] for field in fields]
    mean, std, lower, upper, fitted = fields
    return await asyncio.to_thread(score, mean, std, lower, upper, fitted, rule.coverage)


def _digest(query: Query, truth: NDArray[np.float64]) -> bytes:
    state = hashlib.blake2b(digest_size=16)
    for array in (query.inputs, truth, *(query.coordinates or ())):
        state.update(repr((array.shape, array.dtype.name)).encode() + array.tobytes())
    return state.digest()
