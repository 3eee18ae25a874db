"""Real servers for the tests: started once, on free ports; one that cannot start fails the run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack import MODEL_PATHS, REPOSITORY, Stack

from tasks.settings import settings

# Where Debian keeps nginx and haproxy, and only root's PATH looks.
os.environ["PATH"] += os.pathsep + "/usr/sbin"

# Tests import names from these before they are plugins.
pytest.register_assert_rewrite("job_service", "job_calls", "internet")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A measured time holds if one of three tries keeps it: other programs only ever add to it."""
    for item in items:
        if item.get_closest_marker("measures_time"):
            item.add_marker(pytest.mark.flaky(reruns=2, only_rerun=["AssertionError"]))


@pytest.fixture(scope="session", autouse=True)
def _own_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Away from the repository: its .env and var/env are somebody's own settings."""
    weights = os.environ.setdefault("PIXELMILL_WEIGHTS_DIR", str(REPOSITORY / "var" / "weights"))
    Path(weights).mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("cwd"))
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Both Redis and S3, nothing else."""
    with Stack(tmp_path_factory.mktemp("servers")) as servers:
        servers.start_servers()
        yield servers


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole installation: servers, workers, web; matting and the tests' models."""
    env = {
        "PIXELMILL_MODELS": "matting,toy,noop,slow,toyvolume",
        "PIXELMILL_MODEL_PATHS": MODEL_PATHS,
        "PIXELMILL_CPU_PROCESSES": "2",  # on any machine
    }
    with Stack(tmp_path_factory.mktemp("stack"), env) as stack:
        yield stack.start_all()


@pytest.fixture
def model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder for models of one's own, which the settings name."""
    monkeypatch.setenv("PIXELMILL_MODEL_PATHS", str(tmp_path))
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


@pytest.fixture
def photo() -> bytes:
    """A real photo of a person."""
    return (REPOSITORY / "examples" / "astronaut.jpg").read_bytes()
