"""Manifests say what the fleet's config and the service's settings say, are well formed, and give pods nothing else."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from pnol_jax import toml
from pnol_jax.errors import InputError
from serving.fleet.config import FleetConfig
from serving.fleet.kubernetes.command import main
from serving.fleet.kubernetes.manifests import OPERATORS, check, manifests
from serving.fleet.kubernetes.policies import adapter
from serving.fleet.kubernetes.replica import environment, settings
from serving.settings import Settings
from serving.sources import PREFIX, from_environment

SCHEMAS = Path(__file__).parent / "schemas"
SERVING = {"models": "here", "batch_sizes": [1, 4], "drain_seconds": 20, "stall_seconds": 8.0}


def fleet(kubernetes: dict[str, Any] | None = None, serving: dict[str, Any] | None = None, **keys: Any) -> FleetConfig:
    tree = {"minimum": 2, "maximum": 5, "serving": SERVING | (serving or {}), **keys}
    return toml.parse({**tree, "kubernetes": {"image": "pnol:1", **(kubernetes or {})}}, FleetConfig, "test")


def pod_of(found: FleetConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its spec and that of its container."""
    spec = manifests(found)["deployment"]["spec"]["template"]["spec"]
    return spec, spec["containers"][0]


EVERYTHING = fleet(
    {
        "models": {"name": "image", "reference": "models:1"},
        "tokens_secret": "tokens",
        "scrape_secret": "scraper",
        "callers": ["web", "batch"],
        "pull_secrets": ["registry"],
        "gpus": 1,
        "spread_nodes": True,
        "cpu_percent": 75,
        "monitor_labels": {"release": "prometheus"},
    },
    {"grpc_port": 8081, "traces": "http://collector.monitoring:4318", "tokens": "tokens.toml", "workers": 2},
    scaling={
        "prometheus": "http://127.0.0.1:9090",
        "policies": [
            {"kind": "utilisation", "target": 0.6},
            {"kind": "requests", "per_replica": 50.0},
            {"kind": "prometheus", "name": "backlog", "query": "sum(backlog)", "target": 100.0},
            {"kind": "schedule", "start": "08:00", "end": "18:00", "replicas": 3},
        ],
        "up": {"steps": [{"type": "pods", "value": 4}], "tolerance": 0.05},
        "down": {"window_seconds": 300.0, "select": "min", "steps": [{"type": "percent", "value": 50}]},
    },
)


def test_all_are_well_formed() -> None:
    pytest.importorskip("kubernetes_validate", reason="not installed: kubernetes-validate")
    for config in (EVERYTHING, fleet({"models": {"name": "host", "path": "/srv/models"}})):
        found = manifests(config)
        check(found)  # those that are not the operator's
        for manifest in found.values():
            if manifest["kind"] in OPERATORS:
                assert not list(validator(manifest["kind"]).iter_errors(manifest))
    with pytest.raises(InputError, match="manifest deployment"):
        check({"deployment": {"apiVersion": "apps/v1", "kind": "Deployment", "specs": {}}})
    assert list(validator("ServiceMonitor").iter_errors({"kind": "ServiceMonitor", "spec": {"endpoint": []}}))


def validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((SCHEMAS / f"{kind.lower()}.json").read_text()))


def test_a_pod_s_variables_are_read_back_as_the_settings() -> None:
    for config in (fleet(), EVERYTHING, fleet(serving={"cache_approximate": 1e-5, "abstain_from": 0.5})):
        variables = {name: text for name, text in environment(config).items() if name.startswith(PREFIX)}
        read = toml.parse(from_environment(Settings, variables), Settings, "environment")
        assert read == settings(config)
        assert (read.models, read.host, read.batch_sizes) == ("/models", "0.0.0.0", (1, 4))


def test_the_numbers_are_those_of_the_settings() -> None:
    spec, container = pod_of(fleet({"leave_seconds": 7, "start_seconds": 90, "probe_seconds": 3}))
    assert container["lifecycle"]["preStop"]["sleep"]["seconds"] == 7
    assert spec["terminationGracePeriodSeconds"] >= 7 + 20 + 10  # leaving, draining, what workers get beyond it
    live, start = container["livenessProbe"], container["startupProbe"]
    assert live["periodSeconds"] * live["failureThreshold"] == 8  # of `stall_seconds`
    assert start["periodSeconds"] * start["failureThreshold"] == 90
    assert (live["httpGet"]["path"], container["readinessProbe"]["httpGet"]["path"]) == (
        "/health/live",
        "/health/ready",
    )
    scaled = manifests(fleet())["autoscaler"]["spec"]
    assert (scaled["minReplicas"], scaled["maxReplicas"]) == (2, 5)
    assert "replicas" not in manifests(fleet())["deployment"]["spec"]


def test_a_pod_may_do_nothing_but_serve() -> None:
    for config in (fleet(), EVERYTHING):
        spec, container = pod_of(config)
        assert spec["automountServiceAccountToken"] is spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        writable = {mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert writable == {volume["name"] for volume in spec["volumes"] if "emptyDir" in volume}
        assert container["resources"]["requests"] == container["resources"]["limits"]


def test_nobody_else_reaches_a_pod() -> None:
    policy = manifests(EVERYTHING)["network-policy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    callers, monitoring = policy["ingress"]
    assert [names(each) for each in callers["from"]] == ["web", "batch"]
    assert [port["port"] for port in callers["ports"]] == [8080, 8081]
    assert names(monitoring["from"][0]) == "monitoring"
    assert [port["port"] for port in monitoring["ports"]] == [8080]
    dns, traces = policy["egress"]
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert (names(traces["to"][0]), traces["ports"][0]["port"]) == ("monitoring", 4318)
    plain = manifests(fleet())["network-policy"]["spec"]
    assert plain["ingress"][0]["from"] == [{"podSelector": {}}]  # of its own namespace
    assert len(plain["egress"]) == 1


def names(peer: dict[str, Any]) -> str:
    return str(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])


def test_what_selects_pods_selects_these() -> None:
    found = manifests(EVERYTHING)
    labels = found["deployment"]["spec"]["template"]["metadata"]["labels"].items()
    spread = found["deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selectors = [
        found["service"]["spec"]["selector"],
        *(found[name]["spec"]["selector"]["matchLabels"] for name in ("deployment", "disruption-budget")),
        found["network-policy"]["spec"]["podSelector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in spread),
    ]
    assert all(selector.items() <= labels for selector in selectors)
    monitor = found["service-monitor"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= found["service"]["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in found["service"]["spec"]["ports"]}


def test_every_metric_of_the_autoscaler_is_recorded_and_told() -> None:
    found = manifests(EVERYTHING)
    *metrics, cpu = found["autoscaler"]["spec"]["metrics"]
    metrics = [each["external"] for each in metrics]
    assert cpu["resource"] == {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 75}}
    asked = manifests(fleet())["autoscaler"]["spec"]["metrics"]
    assert [each["type"] for each in asked] == ["External"]
    assert [(metric["metric"]["name"], *metric["target"].values()) for metric in metrics] == [
        ("pnol_load", "AverageValue", "600m"),
        ("pnol_replica_requests", "AverageValue", "50000m"),
        ("pnol_query_backlog", "Value", "100000m"),
    ]
    told = {
        rule["name"]["as"]: rule["seriesQuery"].partition("{")[0] for rule in adapter(EVERYTHING)["rules"]["external"]
    }
    recorded = {rule.get("record") for group in found["rules"]["spec"]["groups"] for rule in group["rules"]}
    assert set(told) == {metric["metric"]["name"] for metric in metrics}
    assert set(told.values()) <= recorded
    behaviour = found["autoscaler"]["spec"]["behavior"]
    assert behaviour["scaleDown"] == {
        "stabilizationWindowSeconds": 300,
        "selectPolicy": "Min",
        "policies": [{"type": "Percent", "value": 50, "periodSeconds": 15}],
    }
    assert behaviour["scaleUp"]["tolerance"] == "50m"


def test_what_kubernetes_cannot_do_is_refused() -> None:
    for config, message in (
        (fleet({"image": ""}), "kubernetes.image: got none"),
        (fleet(minimum=0), "minimum: got 0, expected at least 1"),
        (fleet(maximum=None), "maximum: got none"),
        (fleet(serving={"tokens": "tokens.toml"}), "kubernetes.tokens_secret: got none"),
        (fleet(serving={"grpc_port": 8080}), "serving.grpc_port: got 8080, expected a port other than 8080"),
        (
            fleet(serving={"batch_size": [1]}),
            "serving: top level: unknown key 'batch_size'; did you mean 'batch_sizes'",
        ),
        (fleet(scaling={"down": {"window_seconds": 4000.0}}), "scaling.down.window_seconds: got 4000"),
        (
            fleet(scaling={"up": {"steps": [{"type": "pods", "value": 1, "period_seconds": 2000.0}]}}),
            "period of 2000 s",
        ),
    ):
        with pytest.raises(InputError, match=message):
            manifests(config)


def test_the_command_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "fleet.toml"
    file.write_text('minimum = 1\nmaximum = 3\n[kubernetes]\nimage = "pnol:1"\n')
    assert main(["--config", str(file)]) == 0
    printed = capsys.readouterr()
    listed = json.loads(printed.out)["items"]
    left = "scaling: queue_time: not known to Kubernetes, which scales by"  # the default, our own supervisor's
    assert printed.err == f"{left} pnol_load\n"
    assert main(["--config", str(file), "kubernetes.cpu_percent=75"]) == 0
    assert capsys.readouterr().err == f"{left} pnol_load, cpu\n"
    both = 'scaling.policies=[{kind = "requests", per_replica = 5.0}, {kind = "queue_time"}]'
    assert main(["--config", str(file), both]) == 0
    assert capsys.readouterr().err == f"{left} pnol_replica_requests\n"
    assert main(["--config", str(file), 'scaling.policies=[{kind = "utilisation"}]']) == 0
    assert capsys.readouterr().err == ""
    assert main(["--config", str(file), "--out", str(tmp_path / "out"), "kubernetes.image=pnol:2"]) == 0
    written = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out").glob("*.json")}
    assert sorted(item["kind"] for item in written.values()) == sorted(item["kind"] for item in listed)
    container = written["deployment"]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "pnol:2"
    assert (tmp_path / "out" / "adapter" / "values.json").is_file()
    capsys.readouterr()
    assert main(["--config", str(file), "minimum=0"]) == 2
    assert capsys.readouterr().err.startswith("serving.fleet: minimum: got 0")
    assert msgspec.json.decode(written["dashboard"]["data"]["pnol.json"])["title"] == "Fleet pnol"
