import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest
from rich.console import Console
from stack import REPOSITORY, Stack, free_port
from typer.main import get_group
from typer.testing import CliRunner

from deploy import cli
from deploy.client import display
from deploy.client.answers import Model

PIXELMILL = [sys.executable, "-W", "error", "-m", "deploy.cli"]
COMMANDS = (
    "up", "init", "web", "worker", "run", "mcp", "models", "weights", "train", "doctor", "audit",
    "backup", "restore", "keys", "users",
)  # fmt: skip


def pixelmill(
    folder: Path, *words: str, env: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """The command in a folder of its own, with no settings but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIXELMILL_")}
    return subprocess.run(
        [*PIXELMILL, *words],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "100", **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_lists_every_command() -> None:
    said = CliRunner().invoke(cli.app, ["--help"]).output

    for name in COMMANDS:
        assert f" {name} " in said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_by_a_sentence_and_an_example(name: str) -> None:
    command = get_group(cli.app).commands[name]

    assert command.help.endswith(".")
    assert f"pixelmill {name}" in command.epilog
    said = CliRunner().invoke(cli.app, [name, "--help"]).output
    assert "Example:" in said


def test_help_shows_the_brackets_of_an_extra() -> None:
    said = CliRunner().invoke(cli.app, ["mcp", "--help"]).output

    assert 'pip install "pixelmill[mcp]"' in " ".join(said.split())


def test_help_is_quick(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    done = pixelmill(tmp_path, "--help")

    # CPU time, as colleagues may be using the cores.
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6


def test_the_command_line_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = ["torch", "gradio", "cv2", "celery", "boto3", "numpy", "httpx", "pydantic"]
    code = f"import sys, deploy.cli; print([m for m in {heavy} if m in sys.modules])"

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )

    assert done.stdout.strip() == "[]", done.stderr


def test_a_wrong_setting_is_named_and_its_value_kept_quiet(tmp_path: Path) -> None:
    done = pixelmill(tmp_path, "models", env={"PIXELMILL_PORT": "hunter2"})

    assert done.returncode == 1
    assert "PIXELMILL_PORT: " in done.stderr
    assert "hunter2" not in done.stderr
    assert "Traceback" not in done.stderr


def test_whoever_still_closes_open_mode_by_its_old_name_learns_the_new_one(tmp_path: Path) -> None:
    done = pixelmill(tmp_path, "models", env={"PIXELMILL_OPEN": "false"})

    assert done.returncode == 1
    assert "PIXELMILL_OPEN" in done.stderr and "PIXELMILL_AUTH=accounts" in done.stderr
    both = pixelmill(
        tmp_path, "models", env={"PIXELMILL_OPEN": "false", "PIXELMILL_AUTH": "accounts"}
    )
    assert "PIXELMILL_OPEN" not in both.stderr, "a var/env of before does no harm"


def test_models_without_a_server_end_as_a_sentence(tmp_path: Path) -> None:
    done = pixelmill(tmp_path, "models")

    assert done.returncode == 1
    assert done.stderr.startswith("no server found")
    assert "`pixelmill up`" in done.stderr


def test_init_without_redis_ends_as_a_sentence(tmp_path: Path) -> None:
    done = pixelmill(tmp_path, "init", env={"PIXELMILL_STATE_URL": "redis://127.0.0.1:1/0"})

    assert done.returncode == 1
    assert "the state Redis did not answer" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_process_of_worker_becomes_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[str] = []
    monkeypatch.setattr(os, "execv", lambda program, words: became.extend(words))

    CliRunner().invoke(cli.app, ["worker", "gpu", "--gpu", "1", "--models", "matting"])

    assert became[1:] == ["-m", "workers", "gpu", "--gpu", "1", "--models", "matting"]


def test_weights_of_an_unknown_model_name_those_there_are(tmp_path: Path) -> None:
    done = pixelmill(tmp_path, "weights", "nope")

    assert done.returncode == 1
    assert "no model 'nope'; there are: " in done.stderr


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        ([], {"PIXELMILL_VAR_DIR": "file/var"}, "file/var cannot be written: Not a directory"),
        ([], {"PIXELMILL_MODELS": "matting,mating"}, "no model mating"),
        ([], {"PIXELMILL_MODEL_PATHS": "nowhere"}, "nowhere does not exist"),
        (["--port", "99999"], {}, "PIXELMILL_PORT: Input should be less than or equal to 65535"),
    ],
)
def test_what_up_cannot_start_with_is_one_sentence(
    tmp_path: Path, words: list[str], env: dict[str, str], said: str
) -> None:
    (tmp_path / "file").touch()
    port = {"PIXELMILL_PORT": str(free_port())}

    done = pixelmill(tmp_path, "up", *words, env={**port, **env})

    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_weights_come_without_s3_too(tmp_path: Path) -> None:
    env = {
        "PIXELMILL_MODEL_PATHS": str(REPOSITORY / "tests" / "bench" / "models"),
        "PIXELMILL_S3_URL": "http://127.0.0.1:1",
        "PIXELMILL_S3_KEY": "key",
        "PIXELMILL_S3_SECRET": "secret",
    }

    done = pixelmill(tmp_path, "weights", "noop", env=env)  # a model that has none

    assert done.returncode == 0, done.stderr
    assert "continuing without S3" in done.stderr
    assert "weights of noop: it has none" in done.stderr


def test_models_are_printed_as_json(stack: Stack, tmp_path: Path) -> None:
    done = pixelmill(tmp_path, "models", "--json", "--url", stack.url, "--key", stack.api_key)

    assert {card["name"] for card in json.loads(done.stdout)} == {
        "matting",
        "noop",
        "slow",
        "toy",
        "toyvolume",
    }


def test_models_are_printed_as_a_table(stack: Stack, tmp_path: Path) -> None:
    done = pixelmill(tmp_path, "models", "--url", stack.url, "--key", stack.api_key)

    assert done.returncode == 0, done.stderr
    assert "noop" in done.stdout
    assert "yes" in done.stdout


@pytest.mark.parametrize(("is_terminal", "lines"), [(True, 7), (False, 2)])
def test_the_table_of_models_cuts_no_name_and_is_a_line_each_for_programs(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_terminal: bool,
    lines: int,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(Console, "is_terminal", property(lambda self: is_terminal))
    card = {"kind": "volume", "live": True, "device": "cpu", "ms_per_image": 13_525.5}
    licence = {"weights_bytes": 0, "licence": "MIT (detector), Apache-2.0 (classifier)"}
    names = {"name": "a_model_of_slices", "title": "Slices [of mine]"}

    display.print_models([cast(Model, {**card, **licence, **names})])

    said = capsys.readouterr().out
    assert names["name"] in said
    assert "[of" in said
    assert len(said.splitlines()) == lines
