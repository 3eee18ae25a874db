"""The chart of deploy/helm: what it writes is valid, and follows its values.

helm comes by `make test-setup`, as it has no package of Debian's; without it these are skipped.
"""

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


@functools.cache
def written(values: str = json.dumps(VALUES)) -> str:
    done = helm("template", "mill", CHART, "--namespace", "photos", given=json.loads(values))
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(kind: str, **values: Any) -> list[dict[str, Any]]:
    text = written(json.dumps({**VALUES, **values}) if values else json.dumps(VALUES))
    return [item for item in yaml.safe_load_all(text) if item and item["kind"] == kind]


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


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"publicUrl": "mill.example.com"}, "publicUrl"),
        ({"web": {"replicas": 0}}, "replicas"),
        ({"webb": {}}, "webb"),
        ({"settings": {"MODELS": "x"}}, "MODELS"),
        ({"gpuGroups": []}, "gpuGroups"),
        ({"publicUrl": ""}, "publicUrl must be set"),
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
        assert pod["securityContext"]["runAsNonRoot"]
        settings = {item["name"]: item["value"] for item in container["env"]}
        if "terminationGracePeriodSeconds" in pod:
            stop_s = int(settings["PIXELMILL_STOP_S"])
            assert pod["terminationGracePeriodSeconds"] == stop_s + GRACE_S


def test_a_group_is_scaled_by_the_model_that_wants_most() -> None:
    [scaled] = documents("ScaledObject")

    urls = [trigger["metadata"]["url"] for trigger in scaled["spec"]["triggers"]]
    models = ("matting", "facemask", "classify")
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
