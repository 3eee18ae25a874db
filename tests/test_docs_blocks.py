"""The shell and Python blocks of README.md, CONTRIBUTING.md and docs/ do what they say.

They run, page by page and in order, in a folder in which `pixelmill up` runs. A block that cannot
has `<!-- not run: reason -->` on the line before it, and one that is to be saved
`<!-- file: name -->`. Blocks of other languages (pictures, JSON) are only read.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_up import Up
from pages import PAGES, Block, blocks, name_of
from stack import REPOSITORY, free_port

DEFAULT_URL = "http://127.0.0.1:7860"
LANGUAGES = {"sh", "python"}
BLOCKS = [block for page in PAGES for block in blocks(page) if block.language in LANGUAGES]
FILES = [block for block in BLOCKS if block.file]
RUN = [block for block in BLOCKS if not block.not_run and not block.file]
SECONDS = 90


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running `pixelmill up` whose folder holds the examples and the files of the pages."""
    folder = tmp_path_factory.mktemp("pages")
    shutil.copytree(REPOSITORY / "examples", folder / "examples")
    for block in FILES:
        file = folder / block.file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(block.code)
    models = ["matting", "classify", *(Path(block.file).stem for block in FILES)]
    env = {
        "PIXELMILL_MODELS": ",".join(models),
        "PIXELMILL_MODEL_PATHS": str(folder / "models"),
        "PIXELMILL_TASK_EVENTS": "false",  # Flower takes long to start, and no page needs it
    }
    up = Up(folder, "--port", str(free_port()), env=env)
    try:
        up.wait_until_ready()
        yield up
    finally:
        if up.process.poll() is None:
            up.stop()


@pytest.mark.parametrize("page", sorted({block.page for block in RUN}))
def test_the_blocks_of_a_page_run(up: Up, page: str) -> None:
    for block in RUN:
        if block.page == page:
            done = run(block, up)
            assert done.returncode == 0, f"{page}:{block.line}\n{block.code}\n{done.stdout}"


def test_every_block_that_is_not_run_says_why() -> None:
    assert [block.page for block in BLOCKS if block.not_run and len(block.not_run) < 15] == []
    assert len(RUN) > 10


def test_the_pages_of_the_site_are_looked_at() -> None:
    assert {"README.md", "docs/use.md"} <= {name_of(page) for page in PAGES}


def run(block: Block, up: Up) -> "subprocess.CompletedProcess[str]":
    """One block, in the folder of `pixelmill up`, at its address, as somebody without settings."""
    code = block.code.replace(DEFAULT_URL, str(up.run["url"]))
    python = [sys.executable, "-W", "error", "-c", code]
    command = python if block.language == "python" else ["bash", "-euo", "pipefail", "-c", code]
    bin_ = str(Path(sys.executable).parent)
    env = {name: value for name, value in os.environ.items() if "PIXELMILL" not in name}
    return subprocess.run(
        command,
        cwd=up.folder,
        env={**env, "PATH": f"{bin_}:{env['PATH']}", "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
