"""deploy/monitoring: alerts, routes and dashboards are about metrics that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dashboards
import pynvml
import pytest
import yaml
from dashboard_boards import BOARDS
from prometheus_client import REGISTRY
from stack import REPOSITORY

from storage.catalogue import Catalogue
from storage.jobs.stats import Stats
from storage.pilot import Scaling
from web import health as health  # this and counters register what a web process counts itself
from web.jobs import counters as counters
from web.metrics.installation import of_installation
from web.metrics.routes import OwnMetrics
from workers.gpu import sensors
from workers.gpu.metrics import DeviceMetrics
from workers.metrics import WorkerMetrics

FOLDER = REPOSITORY / "deploy" / "monitoring"
RULES = yaml.safe_load((FOLDER / "rules.yml").read_text())
ALL_RULES: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL_RULES if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for rule in ALL_RULES if "record" in rule}
METRIC = re.compile(r"(?<![:\w])pixelmill_\w+(?![:\w])")
OF_HISTOGRAMS = re.compile(r"_(bucket|sum|count)$")


def run(*command: str | Path) -> str:
    """What a program prints that must succeed."""
    if not shutil.which(str(command[0])):
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of all metrics, as they stand in a query."""
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: None)
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetUtilizationRates", lambda handle: SimpleNamespace(gpu=1)
    )
    device = DeviceMetrics("cpu", dict, dict, sensors=sensors.of("GPU-1"))
    shared = of_installation(Stats([], {"m": {}}), Catalogue(0, (), {}, {}), {"m": Scaling(1, 0)})
    families = [
        *shared,
        *OwnMetrics(channels=0, users=0).collect(),
        *WorkerMetrics(["inference"], device.collect).collect(),
        *REGISTRY.collect(),
    ]
    return {
        family.name + ("_total" if family.type == "counter" else "")
        for family in families
        if family.name.startswith("pixelmill_")
    }


def expressions() -> Iterator[str]:
    """Every query of the rules and of the dashboards."""
    yield from (rule["expr"] for rule in ALL_RULES)
    for board in BOARDS:
        for charts in board.rows.values():
            for chart in charts:
                yield from chart.queries


def test_prometheus_accepts_the_configuration_and_its_rules() -> None:
    assert "SUCCESS" in run("promtool", "check", "config", "prometheus.yml")


def test_every_alert_fires_when_it_must_and_not_before() -> None:
    run("promtool", "test", "rules", "rules_test.yml")

    tested = (FOLDER / "rules_test.yml").read_text()
    assert all(f'alertname="{name}", alertstate="firing", ' in tested for name in ALERTS)


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "pager"), ("warning", "team"), ("none", "team")]
)
def test_alerts_reach_whom_they_concern(severity: str, receiver: str) -> None:
    route = ("amtool", "config", "routes", "test", "--config.file=alertmanager.yml")

    assert run(*route, f"severity={severity}", "alertname=Any").strip() == receiver


def test_rules_and_dashboards_name_metrics_that_there_are(shown: set[str]) -> None:
    named = {name for query in expressions() for name in METRIC.findall(query)}
    recorded = {name for query in expressions() for name in re.findall(r"\w+:\w+:\w+", query)}

    unknown = {name for name in named - shown if OF_HISTOGRAMS.sub("", name) not in shown}
    assert unknown == set()
    assert recorded <= RECORDED.keys()


def test_every_metric_is_in_the_table_of_the_documentation(shown: set[str]) -> None:
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    rows = "\n".join(line for line in page.splitlines() if line.startswith("|"))

    assert {name for name in shown if f"`{name.removeprefix('pixelmill_')}`" not in rows} == set()


def test_prometheus_can_read_every_query_of_the_dashboards(tmp_path: Path) -> None:
    queries = {query.replace("$model", "m") for query in expressions()}
    rules = [{"record": f"query{n}", "expr": query} for n, query in enumerate(sorted(queries))]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))

    run("promtool", "check", "rules", file)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_the_files_of_the_dashboards_are_those_that_the_builders_make(board: Any) -> None:
    made = dashboards.to_json(board)

    assert (FOLDER / "dashboards" / f"{board.uid}.json").read_text() == made, "make dashboards"
    panels = [panel for panel in json.loads(made)["panels"] if panel["type"] != "row"]
    for panel in panels:
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters) and all(letters)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_leads_to_a_runbook_that_says_what_it_means_and_what_to_do(name: str) -> None:
    [_, runbook] = ALERTS[name]["annotations"]["runbook_url"].split("/runbooks.html#")
    page = (REPOSITORY / "docs" / "runbooks.md").read_text()

    assert runbook == name.lower()
    text = page.partition(f"## {name}\n")[2].partition("\n## ")[0]
    assert "**Means**" in text and "**Do**" in text
