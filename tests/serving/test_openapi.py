"""The OpenAPI document is true: its routes, its statuses, its examples and its schemas are the service's."""

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
import pytest

from benchmarks.peers import python_of
from serving.information import INFORMATION
from serving.openapi import PATH, document
from serving.predictions import PREDICTIONS
from tests.serving.conftest import Server, running
from tests.serving.test_bad_input import REQUESTS

FUZZ_SECONDS = 120
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
    handlers = [*PREDICTIONS, *INFORMATION]
    return {
        (re.sub(r":\w+}", "}", path), method.lower())
        for handler in handlers
        for path in handler.paths
        for method in handler.http_methods
    }


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
        assert response.status_code == 200, response.text
        check_schema(api, about, response)
    assert examples == 3


def test_refusals_look_as_documented(server: Server, api: dict[str, Any]) -> None:
    for path in ("/v2/models/wave", "/v2/models/line/versions/7/ready"):
        known = template(path, api)
        assert known
        response = httpx.get(server.url + path)
        assert response.status_code == 404
        check_schema(api, api["paths"][known]["get"], response)
    response = httpx.post(f"{server.url}/predict", content=b"{")
    check_schema(api, api["paths"]["/predict"]["post"], response)


@pytest.mark.slow
def test_no_request_that_schemathesis_makes_brings_a_500_or_an_answer_of_another_shape(
    server: Server, tmp_path: Path
) -> None:
    """500 is in no part of the document, so that it is a status that does not conform."""
    try:
        schemathesis = python_of("schemathesis").parent / "st"
    except subprocess.CalledProcessError as error:
        pytest.skip(f"schemathesis cannot be installed: {error}")
    command = [schemathesis, "run", server.url + PATH, "--checks", CHECKS, "--max-time", str(FUZZ_SECONDS)]
    command += ["--seed", "1", "--continue-on-failure", "--warnings", "off"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, cwd=tmp_path, env={**os.environ, "CI": "1"}
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert "a request failed" not in server.errors.read_text()
    assert httpx.get(f"{server.url}/health").json()["ready"]
