"""The OpenAPI document is true: its routes, its statuses, its examples and its schemas are the service's."""

import collections
import copy
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import msgspec
import numpy as np
import pytest

from benchmarks.child import ROOT
from benchmarks.peers import python_of
from serving.derivatives import DerivativesEndpoint
from serving.information import INFORMATION
from serving.openapi import PATH, document
from serving.predictions import Predictions
from serving.releases.endpoints import RELEASES
from serving.repository.endpoints import REPOSITORY
from serving.rollouts import RolloutEndpoint
from serving.wire.formats import FORMATS
from serving.wire.v2 import HEADER_LENGTH
from tests import heat, marching
from tests.serving.conftest import Server, running
from tests.serving.test_bad_input import REQUESTS

FUZZ_SECONDS = 40  # of each run
SOON = 5000.0  # milliseconds, in which a service that does not hang says so
JSON, OCTETS = "application/json", "application/octet-stream"
BYTES = [kind for kind in FORMATS if kind != JSON]
DIRECT = (*RolloutEndpoint.paths, *DerivativesEndpoint.paths)
HOOKS = ROOT / "benchmarks" / "peer_scripts"
CHECKS = "status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method"


@pytest.fixture(scope="module")
def server(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = ["--batch-sizes", "[1]", "--body-seconds", "1"]
    with running(small, tmp_path_factory.mktemp("log") / "errors", *flags) as server:
        yield server


@pytest.fixture(scope="module")
def api(server: Server) -> dict[str, Any]:
    """The document, as the service gives it."""
    found: dict[str, Any] = httpx.get(server.url + PATH).json()
    return found


def operations(api: dict[str, Any]) -> dict[tuple[str, str], Any]:
    return {(path, method): about for path, methods in api["paths"].items() for method, about in methods.items()}


def routes() -> set[tuple[str, str]]:
    handlers = [*INFORMATION, *REPOSITORY, *RELEASES]
    told = {(path, method) for handler in handlers for path in handler.paths for method in handler.http_methods}
    predicted = {(path, "POST") for path in (*Predictions.paths, *DIRECT)}
    return {(re.sub(r":\w+}", "}", path), method.lower()) for path, method in told | predicted}


def template(path: str, api: dict[str, Any]) -> str | None:
    """The path of the document that a request's path is one of."""
    patterns = {re.sub(r"{\w+}", "[^/]+", known): known for known in api["paths"]}
    return next((known for pattern, known in patterns.items() if re.fullmatch(pattern, path)), None)


def test_the_service_gives_the_document(api: dict[str, Any]) -> None:
    assert api == json.loads(msgspec.json.encode(document()))


def test_every_route_is_in_it_and_no_other(api: dict[str, Any]) -> None:
    assert set(operations(api)) == routes()
    for (path, _), about in operations(api).items():
        named = {parameter["name"] for parameter in about["parameters"] if parameter["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))


def test_every_status_that_bad_requests_get_is_in_it(api: dict[str, Any]) -> None:
    seen = 0
    for path, _, _, status, _ in REQUESTS.values():
        known = template(path.partition("?")[0], api)
        if known is not None and "post" in api["paths"][known]:
            assert str(status) in api["paths"][known]["post"]["responses"]
            seen += 1
    assert seen > 30


def check_schema(api: dict[str, Any], about: dict[str, Any], response: httpx.Response) -> None:
    content = about["responses"][str(response.status_code)]["content"]
    media_type = response.headers["content-type"].partition(";")[0]
    schema = content[media_type].get("schema", {}) | {"components": api["components"]}
    if media_type == "application/json":
        jsonschema.Draft202012Validator(schema).validate(response.json())


def test_every_example_succeeds_and_is_answered_as_documented(server: Server, api: dict[str, Any]) -> None:
    examples = 0
    for (path, method), about in operations(api).items():
        if path in DIRECT:  # which the models here cannot: see below
            continue
        url = server.url + path.format(name="line", number="10")
        if method == "get":
            response = httpx.get(url)
        else:
            body = about["requestBody"]["content"]["application/json"]
            jsonschema.Draft202012Validator(body["schema"] | {"components": api["components"]}).validate(
                body["example"]
            )
            response = httpx.post(url, json=body["example"])
            examples += 1
        expected = 403 if "/repository/models/" in path else 200  # without the setting that lets them
        assert response.status_code == expected, response.text
        check_schema(api, about, response)
    assert examples == 7


@pytest.mark.parametrize("path", DIRECT)
def test_the_examples_of_rollouts_and_derivatives_succeed_with_a_model_that_can(
    api: dict[str, Any], tmp_path: Path, path: str
) -> None:
    about = api["paths"][path]["post"]
    example = about["requestBody"]["content"]["application/json"]["example"]
    fields = {"inputs": 2, "tangent": 2, "cotangent": 1}  # channels of the model here; all else is as documented
    asked = {
        name: np.linspace(0, 1, 13 * fields[name]).reshape(13, -1).tolist() if name in fields else value
        for name, value in example.items()
    }
    marching.write(tmp_path / "models")
    with running(
        tmp_path / "models", tmp_path / "errors", "--batch-sizes", "[1]", "--samples-batch-sizes", "[1]"
    ) as own:
        response = httpx.post(own.url + path, json=asked | {"model": "march"})
    assert response.status_code == 200, response.text
    media_type = response.headers["content-type"].partition(";")[0]
    schema = about["responses"]["200"]["content"][media_type]["schema"] | {"components": api["components"]}
    for line in response.text.splitlines():
        jsonschema.Draft202012Validator(schema).validate(json.loads(line))


def test_refusals_look_as_documented(server: Server, api: dict[str, Any]) -> None:
    for path in ("/v2/models/wave", "/v2/models/line/versions/7/ready"):
        known = template(path, api)
        assert known
        response = httpx.get(server.url + path)
        assert response.status_code == 404
        check_schema(api, api["paths"][known]["get"], response)
    response = httpx.post(f"{server.url}/predict", content=b"{")
    check_schema(api, api["paths"]["/predict"]["post"], response)


def guided(api: dict[str, Any], *media_types: str) -> dict[str, Any]:
    """The document narrowed to what reaches the readers of some kinds of body.

    Predictions alone; models that there are; and no header length, since one drawn at random cuts the JSON short, and
    then nothing behind it is read.
    """
    api, paths = copy.deepcopy(api), {}
    known = {"name": ["line"], "number": ["1", "10"]}
    for path, about in api["paths"].items():
        body = about.get("post", {}).get("requestBody", {"content": {}})
        body["content"] = {kind: content for kind, content in body["content"].items() if kind in media_types}
        if body["content"]:
            operation = about["post"]
            operation["parameters"] = [p for p in operation["parameters"] if p["name"] != HEADER_LENGTH]
            for parameter in operation["parameters"]:
                if parameter["name"] in known:
                    parameter["schema"] = {"enum": known[parameter["name"]]}
            paths[path] = about
    return api | {"paths": paths}


def bodies(folder: Path) -> Path:
    """One whole body in each format that schemathesis does not know."""
    from benchmarks.fuzz_bodies import FORMATS as RIGHT  # needs gRPC

    folder.mkdir()
    field = heat.wave(heat.grid(12), 1)[0]
    sent = [form.valid("line", field) for form in RIGHT.values()]
    found = {each.headers["content-type"]: each.body for each in sent if each.path == "/predict"}
    for kind in BYTES:
        (folder / kind.replace("/", "-")).write_bytes(found[kind])
    return folder


def entries(report: Path) -> list[dict[str, Any]]:
    """What was sent and answered, from the HTTP archive."""
    found: list[dict[str, Any]] = json.loads(report.read_text())["log"]["entries"]
    return found


def kept_waiting(entry: dict[str, Any]) -> bool:
    """Whether a request that set itself a time, in its body or in its query, was soon told that this has passed."""
    request = entry["request"]
    asked = request["url"] + request.get("postData", {}).get("text", "")
    return entry["response"]["status"] == 504 and "timeout" in asked and entry["time"] < SOON


def sent(found: list[dict[str, Any]]) -> collections.Counter[tuple[str, str, int]]:
    """What was sent and how it ended: (path, media type, status) of each request."""
    count: collections.Counter[tuple[str, str, int]] = collections.Counter()
    for entry in found:
        headers = {header["name"].lower(): header["value"] for header in entry["request"]["headers"]}
        path = httpx.URL(entry["request"]["url"]).path
        count[path, headers.get("content-type", ""), entry["response"]["status"]] += 1
    return count


@pytest.mark.slow
def test_no_request_that_schemathesis_makes_brings_a_500_or_an_answer_of_another_shape(
    server: Server, api: dict[str, Any], tmp_path: Path
) -> None:
    """500 is in no part of the document, so that it is a status that does not conform.

    Of the others past it only 504 may come, as a drawn `timeout` can be too short for any machine.
    """
    try:
        python = python_of("schemathesis")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"schemathesis cannot be installed: {error}")
    environment = os.environ | {"CI": "1", "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HOOKS)}
    environment |= {"BODIES": str(bodies(tmp_path / "bodies"))}
    counts: collections.Counter[tuple[str, str, int]] = collections.Counter()
    runs = (("whole", api), ("text", guided(api, JSON, OCTETS)), ("bytes", guided(api, *BYTES)))
    for name, described in runs:
        (tmp_path / f"{name}.json").write_text(json.dumps(described))
        report = tmp_path / f"{name}.har"
        command = [python, python.parent / "st", "run", tmp_path / f"{name}.json", "--url", server.url]
        command += ["--checks", CHECKS, "--max-time", str(FUZZ_SECONDS), "--seed", "1", "--continue-on-failure"]
        command += ["--warnings", "off", "--report-har-path", report]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path, env=environment
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr
        found = entries(report)
        failed = [entry for entry in found if entry["response"]["status"] >= 500 and not kept_waiting(entry)]
        assert not failed, failed[:3]
        counts += sent(found)
    assert "a request failed" not in server.errors.read_text()
    read = {  # else the time was spent beside the readers
        (path, kind, status): counts[path, kind, status]
        for path in ("/predict", "/v2/models/line/infer")
        for kind in ((JSON, *BYTES) if path == "/predict" else (JSON, OCTETS))
        for status in (200, 400)
        if (kind, status) != (OCTETS, 200)  # which a header length belongs to
    }
    print(counts.total(), "requests, among them", read)
    assert min(read.values()) >= 5, read
