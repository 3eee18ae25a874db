"""`pixelmill run` against a running server."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stack import REPOSITORY, Stack

from deploy.client import run
from deploy.client.api import RunOptions, Server
from tasks.errors import BadInput

EXAMPLES = REPOSITORY / "examples"


def pixelmill(folder: Path, stack: Stack, *words: str) -> "subprocess.CompletedProcess[str]":
    """The command in a folder of its own, against the running server."""
    env = {**os.environ, "PIXELMILL_URL": stack.url, "PIXELMILL_API_KEY": stack.api_key}
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "deploy.cli", *words],
        cwd=folder,
        env={**env, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos of one name in two folders, and a text file that says it is one."""
    (tmp_path / "in" / "sub").mkdir(parents=True)
    shutil.copy(EXAMPLES / "astronaut.jpg", tmp_path / "in" / "one.jpg")
    shutil.copy(EXAMPLES / "coffee.jpg", tmp_path / "in" / "sub" / "one.JPG")
    (tmp_path / "in" / "letter.jpg").write_text("Dear Pixelmill, this is not a photo.")
    (tmp_path / "in" / "notes.txt").write_text("not looked at")
    return tmp_path


def test_a_folder_comes_back_as_results_and_the_bad_file_is_named(
    stack: Stack, folder: Path
) -> None:
    done = pixelmill(folder, stack, "run", "in", "-m", "toy", "-p", "gain=2", "-o", "out")

    assert done.returncode == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == ["in/letter.jpg"]
    assert "2 done" in done.stdout
    assert "1 failed" in done.stdout
    written = {str(file.relative_to(folder / "out")) for file in (folder / "out").rglob("*.*")}
    assert written == {
        "one.json", "one.preview.png", "sub/one.json", "sub/one.preview.png",
    }  # fmt: skip
    assert (folder / "out" / "one.preview.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((folder / "out" / "one.json").read_text())["params"] == {"gain": 2}


def test_the_same_photo_again_is_counted_as_cached(stack: Stack, folder: Path) -> None:
    words = ("run", "in/one.jpg", "-m", "noop", "-p", "salt=4711", "-o", "out")
    pixelmill(folder, stack, *words)

    done = pixelmill(folder, stack, *words)

    assert done.returncode == 0, done.stderr
    assert "1 done, 1 of them cached, 0 failed" in done.stdout


def test_a_cut_out_of_a_person_is_written(stack: Stack, folder: Path) -> None:
    done = pixelmill(
        folder, stack, "run", "in/one.jpg", "-m", "matting", "-o", "out", "--objects", "cutout-png"
    )

    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "one.cutout.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_key_all_files_are_of_one_visitor(stack: Stack, folder: Path) -> None:
    stranger = Server(stack.url, "")
    options = RunOptions("noop", {"salt": "12"})

    code = run.main(
        [folder / "in" / "one.jpg", folder / "in" / "sub"], folder, options, stranger, 4
    )

    assert code == 0


def test_a_wrong_parameter_is_said_in_the_servers_words(
    stack: Stack, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = RunOptions("noop", {"salt": "x"})

    code = run.main(
        [folder / "in" / "one.jpg"], folder, options, Server(stack.url, stack.api_key), 1
    )

    assert code == 1
    assert "salt" in capsys.readouterr().err


def test_an_unknown_model_is_refused_before_anything_is_sent(stack: Stack, folder: Path) -> None:
    with pytest.raises(BadInput, match="no model 'nope'; there are: .*noop"):
        run.main([folder], folder, RunOptions("nope", {}), Server(stack.url, stack.api_key), 1)
