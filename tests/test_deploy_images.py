"""The Dockerfile of deploy/images. `make compose-test` builds and runs it; here it is read."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stack import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "images"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()


def program(name: str) -> str:
    """Where a program of our test packages, or of this machine, is; else the test is skipped."""
    found = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    return found or pytest.skip(f"the program {name} is not installed")


def stage(name: str) -> str:
    """The instructions of a stage."""
    [found] = re.findall(rf"^FROM \S+ AS {name}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)
    return str(found)


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(
        [program("hadolint"), FOLDER / "Dockerfile"], capture_output=True, text=True, timeout=60
    )

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("image", ["web", "worker"])
def test_an_image_runs_as_nobody_in_particular_and_says_how_it_is(image: str) -> None:
    text = stage(image)

    assert "USER 10001:10001" in text and "HEALTHCHECK" in text
    assert "RUN " not in text, "what is run in the last stage leaves its tools behind"
    assert "STOPSIGNAL SIGTERM" in stage("run") and "org.opencontainers.image" in stage("run")


def test_all_that_an_image_copies_gets_to_the_builder() -> None:
    rules = (REPOSITORY / ".dockerignore").read_text().splitlines()
    sent = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}

    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.M)
    copied = {path.partition("/")[0] for line in lines for path in line.split()}

    assert copied == sent
