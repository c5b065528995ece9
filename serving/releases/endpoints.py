"""`POST /feedback`, where truths come in, and how the releases of a model stand."""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from serving.body import read_whole
from serving.monitoring.summary import Summary
from serving.refusals import Refusal
from serving.releases.decision import compared
from serving.releases.feedback import judge
from serving.releases.figures import FAILURES, REQUESTS, SHADOW
from serving.releases.ledger import Account
from serving.releases.memory import Asked
from serving.releases.service import ReleasingService
from serving.releases.tally import Tally
from serving.repository.labels import Labels
from serving.settings import Settings
from serving.wire.json import Body, encode, to_query
from serving.wire.numbers import Numbers, read_numbers
from serving.workers.team import Team

AnyRequest = Request[Any, Any, State]


class Truth(Body, frozen=True, kw_only=True):
    """The id of an answered request, or a request again; and what came true, in the shape of the answer's mean."""

    truth: Numbers
    inputs: Numbers | msgspec.UnsetType = msgspec.UNSET  # type: ignore[assignment]


_decoder = msgspec.json.Decoder(Truth)


@post("/feedback", status_code=200)
async def feedback(
    request: AnyRequest, service: NamedDependency[ReleasingService], settings: NamedDependency[Settings]
) -> Response[bytes]:
    """Score a request's version, and those that the model's rule compares, on the truth."""
    try:
        body = _decoder.decode(await read_whole(request, settings))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"body: {error}") from None
    truth = read_numbers(body.truth, "truth")
    judged = await judge(service, await _asked(service, body), truth)
    return Response(encode(msgspec.to_builtins(judged)), media_type=MediaType.JSON)


@get("/models/{name:str}/releases")
async def releases(
    name: FromPath[str], service: NamedDependency[ReleasingService], team: NamedDependency[Team]
) -> Response[bytes]:
    """Labels, shares, scores of each version, evidence between two, and what was done, by all workers."""
    catalogue = service.repository.catalogue
    model = catalogue.model(name)
    sections = catalogue.files.get(model, Labels()).sections
    account = (await service.truths.accounts()).get(model, Account())
    rule, pair = sections.rule, compared(catalogue, model, sections.rule)
    about = {
        "model": model,
        "labels": catalogue.labels.get(model, {}),
        "split": sections.split,
        "shadow": sections.shadow,
        "rule": rule,
        "versions": _versions(account, Summary(await team.figures()), model),
        "comparison": account.comparison(pair, rule.metric) if pair and rule else None,
        "events": account.events,
    }
    return Response(encode(about), media_type=MediaType.JSON)


def _versions(account: Account, figures: Summary, model: str) -> dict[str, dict[str, Any]]:
    """Counts, mean scores, and what became of copies, of each version that was asked or scored."""
    requests, failures = (figures.by_version(f"{name}_total", model) for name in (REQUESTS, FAILURES))
    shadow: dict[str, dict[str, float]] = {}
    for labels, amount in figures.labelled(f"{SHADOW}_total"):
        if labels["model"] == model:
            seconds = labels["outcome"] == "seconds"
            shadow.setdefault(labels["version"], {})[labels["outcome"]] = amount if seconds else int(amount)
    return {
        version: {
            "requests": int(requests.get(version, 0)),
            "failures": int(failures.get(version, 0)),
            "truths": tally.truths,
            **tally.means(),
            "shadow": shadow.get(version, {}),
        }
        for version in sorted({*requests, *failures, *shadow, *account.versions})
        for tally in [account.versions.get(version, Tally())]
    }


async def _asked(service: ReleasingService, body: Truth) -> Asked:
    """The request that a truth is of; one without an id counts for the version that it names or would get."""
    if body.inputs is msgspec.UNSET:
        if body.id is None:
            raise Refusal("body: got neither id nor inputs, expected one of them")
        return await service.truths.recall(body.id)
    return service.asked(to_query(body))


RELEASES = [feedback, releases]
