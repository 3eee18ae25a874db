"""The chart of deploy/helm: what it writes is valid, and follows its values.

helm comes by `make test-setup`, as it has no package of Debian's; without it these are skipped.
"""

import copy
import functools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from stack import REPOSITORY

CHART = REPOSITORY / "deploy" / "helm" / "pixelmill"
PROGRAMS = Path(sys.executable).parent
VALUES: Mapping[str, Any] = {
    "publicUrl": "https://mill.example.com",
    "s3": {"url": "https://s3.example.com"},
    "ingress": {"enabled": True, "tlsSecretName": "tls"},
    "podMonitors": {"enabled": True},
}
CRDS = ("ScaledObject", "TriggerAuthentication", "PodMonitor")
"""What KEDA and the Prometheus operator bring; `make crds` writes their schemas."""
GRACE_S = 30
"""How much longer a pod may take to end than its work."""


def helm(
    *words: str | Path, given: Mapping[str, Any] = VALUES
) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("helm", path=PROGRAMS) or shutil.which("helm")
    if program is None:
        pytest.skip("the program helm is not installed")
    command = [program, *words, "--values", "-"]
    text = json.dumps(given)
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


def complaints(document: Mapping[str, Any]) -> list[str]:
    """What the schema of its kind says against a document."""
    schema = json.loads(
        (CHART.parents[2] / "tests" / "crds" / f"{document['kind']}.json").read_text()
    )
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(document)]


@functools.cache
def written(values: str = json.dumps(VALUES)) -> str:
    done = helm("template", "mill", CHART, "--namespace", "photos", given=json.loads(values))
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(kind: str, **values: Any) -> list[dict[str, Any]]:
    text = written(json.dumps({**VALUES, **values}) if values else json.dumps(VALUES))
    return [item for item in yaml.safe_load_all(text) if item and item["kind"] == kind]


def selectors(text: str) -> dict[str, Any]:
    """By which labels each Deployment finds its pods: Kubernetes lets nobody change them."""
    return {
        item["metadata"]["name"]: item["spec"]["selector"]
        for item in yaml.safe_load_all(text)
        if item and item["kind"] == "Deployment"
    }


def pods() -> list[dict[str, Any]]:
    found = documents("Deployment") + documents("Job")
    return [dict(item["spec"]["template"]["spec"]) for item in found]


def test_helm_finds_nothing() -> None:
    done = helm("lint", "--strict", CHART)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


def test_all_that_is_of_kubernetes_itself_fits_its_schemas(tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(written())
    check = [PROGRAMS / "kubernetes-validate", "--strict", "-k", "1.37", file]

    done = subprocess.run(check, capture_output=True, text=True, timeout=60)

    assert done.returncode == 0 and "ERROR" not in done.stdout + done.stderr
    unknown = [line for line in (done.stdout + done.stderr).splitlines() if "WARN" in line]
    assert len(unknown) == 4 and all("keda.sh" in u or "monitoring.coreos" in u for u in unknown)


@pytest.mark.parametrize("source", ["metrics-api", "prometheus"])
def test_all_that_is_of_other_operators_fits_their_schemas(source: str) -> None:
    values = {"autoscaling": {"enabled": True, "source": source}}
    kinds = CRDS if source == "metrics-api" else ("ScaledObject", "PodMonitor")

    for kind in kinds:
        found = documents(kind, **values)
        assert found, kind
        assert [complaints(document) for document in found] == [[]] * len(found)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("ScaledObject", ("spec", "maxReplicaCounts"), 4),
        ("ScaledObject", ("spec", "minReplicaCount"), "1"),
        ("ScaledObject", ("spec", "fallback", "behavior"), "currentReplica"),
        ("ScaledObject", ("spec", "triggers", 0, "metadata", "targetValue"), 1),
        ("TriggerAuthentication", ("spec", "secretTargetRef", 0, "key"), None),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "interval"), "15 seconds"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "auth"), {}),
    ],
)
def test_the_schemas_of_other_operators_notice_an_error(
    kind: str, path: tuple[str | int, ...], value: object
) -> None:
    document = copy.deepcopy(documents(kind)[0])
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    assert complaints(document)


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"publicUrl": "mill.example.com"}, "publicUrl"),
        ({"web": {"replicas": 0}}, "replicas"),
        ({"webb": {}}, "webb"),
        ({"settings": {"MODELS": "x"}}, "MODELS"),
        ({"gpuGroups": []}, "gpuGroups"),
        ({"publicUrl": ""}, "publicUrl must be set"),
        ({"s3": {"url": ""}}, "s3.url must be set"),
        ({"s3": {"url": "s3.example.com"}}, "s3"),
        ({"s3": {"url": "https://s3.example.com", "buckets": "photos"}}, "buckets"),
        ({"images": {"web": "x", "pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"stopSeconds": "a minute"}, "stopSeconds"),
        ({"cpuWorker": {"cpuPercent": 170}}, "cpuPercent"),
        ({"gpuGroups": [{"name": "Default GPUs"}]}, "name"),
        ({"autoscaling": {"enabled": True, "source": "cpu"}}, "source"),
        ({"web": {"replicas": 9}}, "web: at most 6 pods are fewer than at least 9"),
        ({"podMonitors": {"labels": {"release": 1}}}, "release"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values: dict[str, Any], complaint: str) -> None:
    done = helm("template", "mill", CHART, given={**VALUES, **values})

    assert done.returncode != 0
    assert complaint in done.stderr


def test_every_pod_runs_without_rights_and_may_end_its_work() -> None:
    for pod in pods():
        [container] = pod["containers"]
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] and rights["capabilities"] == {"drop": ["ALL"]}
        assert pod["securityContext"]["runAsNonRoot"] and pod["shareProcessNamespace"]
        settings = {item["name"]: item["value"] for item in container["env"]}
        if "terminationGracePeriodSeconds" in pod:
            stop_s = int(settings["PIXELMILL_STOP_S"])
            assert pod["terminationGracePeriodSeconds"] == stop_s + GRACE_S


def test_a_group_is_scaled_by_the_model_that_wants_most() -> None:
    [scaled] = documents("ScaledObject")

    urls = [trigger["metadata"]["url"] for trigger in scaled["spec"]["triggers"]]
    models = ("matting", "facemask", "classify", "lungct")
    base = "http://mill-web.photos:7860/metrics/scaling/"
    assert urls == [base + model for model in models]
    assert scaled["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher"


def test_prometheus_may_say_how_many_are_wanted() -> None:
    [scaled] = documents("ScaledObject", autoscaling={"enabled": True, "source": "prometheus"})

    data = scaled["spec"]["triggers"][0]["metadata"]
    assert data["query"] == 'max(pixelmill_workers_wanted{model="matting"})'
    assert data["ignoreNullValues"] == "false"


def test_without_autoscaling_a_group_has_its_smallest_number() -> None:
    values = {"autoscaling": {"enabled": False, "source": "metrics-api"}}

    assert documents("ScaledObject", **values) == []
    groups = [d for d in documents("Deployment", **values) if "-gpu-" in d["metadata"]["name"]]
    assert [group["spec"]["replicas"] for group in groups] == [1]


def test_the_settings_that_the_chart_gives_exist() -> None:
    from tasks.settings import Settings

    known = {f"PIXELMILL_{name.upper()}" for name in Settings.model_fields}

    given = {item["name"] for pod in pods() for item in pod["containers"][0]["env"]}
    assert given <= known


def test_an_upgrade_leaves_the_labels_by_which_pods_are_found(tmp_path: Path) -> None:
    newer = tmp_path / "pixelmill"
    shutil.copytree(CHART, newer)
    chart = (CHART / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(re.sub(r"(ersion: )0\.1\.0", r"\g<1>9.9.9", chart))

    done = helm("template", "mill", newer, "--namespace", "photos", "--is-upgrade")

    assert "9.9.9" in done.stdout
    assert selectors(done.stdout) == selectors(written())


def test_the_notes_say_what_to_do_next_with_these_values() -> None:
    def steps(*words: str, **values: Any) -> str:
        given = {**VALUES, **values}
        done = helm(*words, "mill", CHART, "--namespace", "photos", "--dry-run=client", given=given)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("NOTES:")[2]

    served = steps("install", settings={"PIXELMILL_AUTH": "accounts"})
    assert "kubectl logs job/mill-init --namespace photos" in served
    assert "https://mill.example.com/login" in served and "metrics_key" in served
    assert "PIXELMILL_AUTH" not in served and "ingress" not in served
    bare = steps("install", init={"enabled": False}, ingress={"enabled": False})
    assert "pixelmill init" in bare and "mill-web, port 7860" in bare and "PIXELMILL_AUTH" in bare
