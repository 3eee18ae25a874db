"""What is in tasks/ serves more than one kind of process; what serves one alone lies with that."""

from collections.abc import Iterable

import grimp
import pytest

ROOTS = ("storage", "tasks", "workers", "web", "deploy")
STARTED_BY_NAME = {"tasks.app", "tasks.celery_transport", "tasks.preprocess", "tasks.postprocess"}
"""Celery imports them; see tasks/app.py. Who uses them is in no import."""


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*ROOTS)


def kinds(modules: Iterable[str]) -> set[str]:
    """The kinds of process that run these modules."""
    return {
        "gpu worker" if name.startswith("workers.gpu") else name.partition(".")[0]
        for name in modules
        if not name.startswith("tasks")
    }


def test_no_module_of_tasks_is_used_by_web_alone_or_by_one_kind_of_worker_alone(
    graph: grimp.ImportGraph,
) -> None:
    alone = {}
    for module in sorted(graph.find_descendants("tasks") - STARTED_BY_NAME):
        importers = graph.find_modules_that_directly_import(module)
        is_used_in_tasks = any(name.startswith("tasks.") for name in importers)
        used_by = kinds(importers)
        if not is_used_in_tasks and len(used_by) == 1 and used_by != {"deploy"}:
            alone[module] = used_by

    assert alone.pop("tasks.inference") == {"gpu worker"}, "a stage beside the other two"
    assert alone == {}
