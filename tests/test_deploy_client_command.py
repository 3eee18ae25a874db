"""`pixelmill run` as a process: streams, signals, exit codes and completion."""

import json
import os
import pty
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from command_line import EXAMPLES, PIXELMILL, environment, pixelmill
from stack import Stack

PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("one", "two", "three"):
        shutil.copy(EXAMPLES / "coffee.jpg", tmp_path / f"{name}.jpg")
        with (tmp_path / f"{name}.jpg").open("ab") as file:
            file.write(name.encode())
    return tmp_path


@pytest.fixture
def web() -> Iterator[str]:
    """A web server with the examples."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(EXAMPLES)))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def started(folder: Path, stack: Stack, *words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [*PIXELMILL, "run", *words],
        cwd=folder,
        env=environment(stack),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def jobs(stack: Stack) -> list[str]:
    """Ids of all jobs."""
    return [key.decode() for key in stack.state.keys("*job:*")]


def wait_for_job(stack: Stack, before: list[str]) -> str:
    """The id of a job that was not there before."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if new := set(jobs(stack)) - set(before):
            return new.pop().rpartition(":")[2]
        time.sleep(0.05)
    raise AssertionError("no job has come")


def state_of(stack: Stack, job: str) -> str:
    key = {"Authorization": f"Bearer {stack.api_key}"}
    return str(httpx.get(f"{stack.url}/api/v1/jobs/{job}", headers=key).json()["state"])


def test_standard_input_becomes_a_picture_on_standard_output(stack: Stack, folder: Path) -> None:
    with (EXAMPLES / "astronaut.jpg").open("rb") as photo:
        done = subprocess.run(
            [*PIXELMILL, "run", "-", "-o", "-"],
            cwd=folder,
            env=environment(stack),
            stdin=photo,
            capture_output=True,
            timeout=60,
        )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(PNG)
    assert b"note: -: The subject touches the border" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_terminal_gets_no_picture(stack: Stack, folder: Path) -> None:
    main, terminal = pty.openpty()
    try:
        done = subprocess.run(
            [*PIXELMILL, "run", "one.jpg", "-o", "-"],
            cwd=folder,
            env=environment(stack),
            stdout=terminal,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    finally:
        os.close(main)
        os.close(terminal)

    assert done.returncode == 2
    assert b"standard output is a terminal" in done.stderr


def test_addresses_are_downloaded_here_and_sent(stack: Stack, folder: Path, web: str) -> None:
    done = pixelmill(
        folder, stack, "run", f"{web}/chelsea.jpg", f"{web}/none.jpg", "-m", "toy", "--json"
    )

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    by_photo = {line["photo"]: line for line in lines if line["type"] == "photo"}
    assert done.returncode == 1
    assert by_photo[f"{web}/chelsea.jpg"]["files"]["preview"] == "out/chelsea.preview.png"
    assert "answers 404" in by_photo[f"{web}/none.jpg"]["error"]["message"]


def test_ctrl_c_cancels_on_the_server_and_says_how_to_go_on(stack: Stack, folder: Path) -> None:
    before = jobs(stack)
    process = started(folder, stack, ".", "-m", "slow", "-p", "device_s=5", "-j", "1")
    job = wait_for_job(stack, before)

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 130
    assert b"cancelling what is in progress; Ctrl-C again ends at once" in err
    assert b"stopped: 0 of 3 done, 1 cancelled, 2 not sent. To go on, " in err
    assert b"Traceback" not in err
    assert state_of(stack, job) in {"cancelling", "cancelled"}


@pytest.mark.measures_time
def test_a_second_ctrl_c_ends_at_once(stack: Stack, folder: Path) -> None:
    before = jobs(stack)
    process = started(folder, stack, "one.jpg", "-m", "slow", "-p", "device_s=6")
    wait_for_job(stack, before)
    os.kill(stack.processes["web"].pid, signal.SIGSTOP)  # so that cancelling takes its time
    try:
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        took_s = time.monotonic() - began
    finally:
        os.kill(stack.processes["web"].pid, signal.SIGCONT)

    assert process.returncode == 130
    assert took_s < 1
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(["none.jpg"], 2, "there is no file or folder none.jpg"),
     (["ftp://a/b.jpg"], 2, "ftp://a/b.jpg cannot be downloaded"),
     (["one.jpg", "-m", "nope"], 2, "no model 'nope'"),
     (["one.jpg", "--margin", "2"], 2, "--margin"),
     (["one.jpg", "--output", "out/"], 2, "--out (-o)"),
     (["one.jpg", "--url", "http://127.0.0.1:1"], 3, "no server answers"),
     (["one.jpg", "--key", "wrong"], 3, "API key")],
)  # fmt: skip
def test_what_could_not_be_sent_at_all_has_an_exit_code_of_its_own(
    stack: Stack, folder: Path, words: list[str], code: int, said: str
) -> None:
    done = pixelmill(folder, stack, "run", *words)

    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_shells_complete_models_parameters_and_values(stack: Stack, folder: Path) -> None:
    def completed(words: str) -> set[str]:
        done = subprocess.run(
            PIXELMILL,
            cwd=folder,
            env={
                **environment(stack),
                "_PIXELMILL_COMPLETE": "complete_bash",
                "COMP_WORDS": words,
                "COMP_CWORD": str(len(words.split(" ")) - 1),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )
        return set(done.stdout.split())

    assert completed("pixelmill run -m ") == {"matting", "noop", "slow", "toy", "toyvolume"}
    assert completed("pixelmill run -m toy -p g") == {"gain="}
    assert completed("pixelmill run --output alpha,c") == {"alpha,cutout"}
