"""kubectl itself, against the few paths of the API that a JobSet needs: what it is told and what is read from it."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from experiments.clusters import kubernetes, record, watch
from experiments.clusters.interface import Job, Submitted
from pnol_jax.errors import InputError

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="not installed: kubectl")

GROUP = "jobset.x-k8s.io"
SETS = f"/apis/{GROUP}/v1alpha2/namespaces/default/jobsets"
PODS = "/api/v1/namespaces/default/pods"
VERBS = ["create", "delete", "get", "list"]
VERSION = {"groupVersion": f"{GROUP}/v1alpha2", "version": "v1alpha2"}
PLAIN: dict[str, Any] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [{"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": VERBS}],
    },
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": GROUP, "versions": [VERSION], "preferredVersion": VERSION}],
    },
    f"/apis/{GROUP}/v1alpha2": {
        "kind": "APIResourceList",
        "groupVersion": f"{GROUP}/v1alpha2",
        "resources": [
            {"name": "jobsets", "singularName": "jobset", "namespaced": True, "kind": "JobSet", "verbs": VERBS}
        ],
    },
    # By this kubectl sees that the server checks fields itself.
    "/openapi/v3": {"paths": {f"apis/{GROUP}/v1alpha2": {"serverRelativeURL": "/openapi/v3/jobset"}}},
    "/openapi/v3/jobset": {
        "openapi": "3.0.0",
        "info": {"title": "jobset", "version": "1"},
        "paths": {
            f"/apis/{GROUP}/v1alpha2/namespaces/{{namespace}}/jobsets/{{name}}": {
                "patch": {
                    "x-kubernetes-group-version-kind": {"group": GROUP, "version": "v1alpha2", "kind": "JobSet"},
                    "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
                    "responses": {"200": {"description": "OK"}},
                }
            }
        },
    },
}


class Api(BaseHTTPRequestHandler):
    """Holds JobSets; every set has two pods, each with a log."""

    sets: dict[str, Any]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        folder, _, name = url.path.rpartition("/")
        if url.path in PLAIN:
            self._answer(200, PLAIN[url.path])
        elif folder == SETS and name in self.sets:
            self._answer(200, self.sets[name])
        elif url.path == PODS:
            (label,) = parse_qs(url.query)["labelSelector"]
            self._answer(200, {"kind": "PodList", "apiVersion": "v1", "items": self._pods(label)})
        elif name == "log":
            self._send(200, f"said by {folder.rpartition('/')[2]}\n".encode())
        elif folder == PODS:
            self._answer(200, _pod(name))
        else:
            self._missing(name)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.sets[body["metadata"]["name"]] = body
        self._answer(201, body)

    def do_DELETE(self) -> None:
        name = urlsplit(self.path).path.rpartition("/")[2]
        found = self.sets.pop(name, None)
        if found is None:
            self._missing(name)
        else:
            self._answer(200, {"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _pods(self, label: str) -> list[dict[str, Any]]:
        key, _, name = label.partition("=")
        return [_pod(f"{name}-{i}") for i in range(2)] if key == kubernetes.SET_LABEL and name in self.sets else []

    def _missing(self, name: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
        self._answer(404, status | {"message": f'"{name}" not found', "details": {"name": name}})

    def _answer(self, code: int, body: object) -> None:
        self._send(code, json.dumps(body).encode())

    def _send(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _pod(name: str) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "node"}]},
        "status": {"phase": "Running"},
    }


@pytest.fixture
def sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The JobSets that the API holds."""
    held: dict[str, Any] = {}
    handler = type("Handler", (Api,), {"sets": held})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        users = [{"name": "u", "user": {}}]
        config = {"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "contexts": [context], "users": users}
        (tmp_path / "kubeconfig").write_text(json.dumps(config | {"current-context": "c"}))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        monkeypatch.setenv("HOME", str(tmp_path))  # where kubectl keeps what it discovered
        monkeypatch.chdir(tmp_path)
        yield held
        server.shutdown()


def _submit(**fields: object) -> Submitted:
    job = Job(**{"name": "j", "command": ["true"], "folder": "run", "workdir": str(Path.cwd()), "image": "i"} | fields)
    return record.add("kubernetes", kubernetes.submit(job), job)


def test_a_set_is_made_asked_for_read_and_deleted(sets: dict[str, Any]) -> None:
    submitted = _submit(nodes=2)
    (made,) = sets.values()
    assert made["spec"]["replicatedJobs"][0]["template"]["spec"]["parallelism"] == 2
    tasks = submitted.task_ids()
    states = []
    for status in ({}, {"replicatedJobsStatus": [{"active": 1}]}, {"terminalState": "Completed", "restarts": 2}):
        sets[submitted.id]["status"] = status
        states += [(found.state, found.restarts) for found in watch.statuses(kubernetes, submitted, tasks)]
    assert states == [("waiting", 0), ("running", 0), ("done", 2)]
    lines = "".join(kubernetes.logs(submitted, submitted.id, follow=False)).splitlines()
    assert sorted(lines) == [f"[pod/{submitted.id}-{i}/node] said by {submitted.id}-{i}" for i in range(2)]
    assert "".join(kubernetes.logs(submitted, submitted.id, follow=True)).count("said by") == 2
    sets[submitted.id]["status"] = {"replicatedJobsStatus": [{"active": 1}]}
    watch.cancel(kubernetes, submitted, tasks)
    assert sets == {}
    assert [found.state for found in watch.statuses(kubernetes, submitted, tasks)] == ["cancelled"]
    watch.cancel(kubernetes, submitted, tasks)  # what has ended already stays as it is


def test_the_tasks_of_an_array_are_sets_of_their_own(sets: dict[str, Any]) -> None:
    submitted = _submit(tasks=[["a"], ["b"]])
    assert sorted(sets) == [f"{submitted.id}-0", f"{submitted.id}-1"]
    sets[f"{submitted.id}-1"]["status"] = {"terminalState": "Failed"}
    assert [found.state for found in kubernetes.status(submitted)] == ["waiting", "failed"]
    watch.cancel(kubernetes, submitted, submitted.task_ids()[:1])
    assert sorted(sets) == [f"{submitted.id}-1"]


def test_a_cluster_without_jobsets_says_so_and_the_manifest_stays(
    sets: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = PLAIN["/apis"] | {"groups": []}
    monkeypatch.setitem(PLAIN, "/apis", groups)
    with pytest.raises(InputError, match=r'kubectl: .*no matches for kind "JobSet".*the manifest is (.*\.json)$'):
        _submit()
    assert len(list(Path("run/submit").glob("j-*.json"))) == 1


def test_a_server_that_does_not_answer_is_one_line(sets: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "none")
    with pytest.raises(InputError, match=r"^kubectl: ") as refusal:
        _submit()
    assert "\n" not in str(refusal.value)
