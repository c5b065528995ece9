"""`POST /feedback`, where truths come in, and how the releases of a model stand."""

from typing import Any

import msgspec
from litestar import MediaType, Request, Response, get, post
from litestar.datastructures import State

from serving.body import read_whole
from serving.refusals import Refusal
from serving.releases.decision import compared
from serving.releases.feedback import judge
from serving.releases.memory import Asked
from serving.releases.service import ReleasingService
from serving.repository.labels import Labels
from serving.settings import Settings
from serving.wire.json import Body, encode, to_query
from serving.wire.numbers import Numbers, read_numbers

AnyRequest = Request[Any, Any, State]


class Truth(Body, frozen=True, kw_only=True):
    """The id of an answered request, or a request again; and what came true, in the shape of the answer's mean."""

    truth: Numbers
    inputs: Numbers | msgspec.UnsetType = msgspec.UNSET  # type: ignore[assignment]


_decoder = msgspec.json.Decoder(Truth)


@post("/feedback", status_code=200)
async def feedback(request: AnyRequest, service: ReleasingService, settings: Settings) -> Response[bytes]:
    """Score a request's version, and those that the model's rule compares, on the truth."""
    try:
        body = _decoder.decode(await read_whole(request, settings))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(f"body: {error}") from None
    truth = read_numbers(body.truth, "truth")
    judged = await judge(service, _asked(service, body), truth)
    return Response(encode(msgspec.to_builtins(judged)), media_type=MediaType.JSON)


@get("/models/{name:str}/releases")
async def releases(name: str, service: ReleasingService) -> Response[bytes]:
    """Labels, shares, scores of each version, evidence between two, and what was done."""
    catalogue = service.repository.catalogue
    model = catalogue.model(name)
    file, ledger = catalogue.files.get(model, Labels()), service.ledger(model)
    sections, pair = file.sections, compared(catalogue, model, file.sections.rule)
    about = {
        "model": model,
        "labels": catalogue.labels.get(model, {}),
        "split": sections.split,
        "shadow": sections.shadow,
        "rule": sections.rule,
        "versions": {version: tally.summary() for version, tally in sorted(ledger.tallies.items())},
        "comparison": ledger.comparison(pair, sections.rule) if pair and sections.rule else None,
        "events": list(ledger.events),
    }
    return Response(encode(about), media_type=MediaType.JSON)


def _asked(service: ReleasingService, body: Truth) -> Asked:
    """The request that a truth is of; one without an id counts for the version that it names or would get."""
    if body.inputs is msgspec.UNSET:
        if body.id is None:
            raise Refusal("body: got neither id nor inputs, expected one of them")
        return service.memory.recall(body.id)
    return service.asked(to_query(body))


RELEASES = [feedback, releases]
