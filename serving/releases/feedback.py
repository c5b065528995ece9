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
from serving.releases.memory import Asked
from serving.releases.scores import LOST, Scores, fit_truth, score
from serving.releases.service import ReleasingService, bare
from serving.repository.labels import Labels, Rule

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
        Unavailable: the queue is full, or the deadline passed.
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
    ledger, digest = service.ledger(model), _digest(asked.query, truth)
    new = {version for version in scores if ledger.is_new(digest, version)}
    for version in new:
        ledger.tally(version).add(scores[version], (rule or Rule()).coverage)
    if rule and pair and set(pair) <= set(scores) and ledger.is_new(digest, *pair):
        action = ledger.compare(pair, rule, scores[pair[0]], scores[pair[1]])
        if action is not None:
            await carry_out(action, service.repository, model, rule, pair, ledger)
    return Judged(model, asked.version, scores, asked.version in new)


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
        state.update(repr((array.shape, array.dtype)).encode() + array.tobytes())
    return state.digest()
