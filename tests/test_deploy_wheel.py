"""The wheel holds all that Pixelmill needs: it runs where there is no checkout."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from shutil import copytree, ignore_patterns

import httpx
import pytest
from facemask_pictures import write_pictures
from local_up import Up
from stack import REPOSITORY, free_port

PACKAGES = ("storage", "tasks", "workers", "web", "deploy")
GENERATED = ("__pycache__", "*.pyi")
"""What Python and Gradio write beside the files."""
LEFT_OUT = tuple(
    f"deploy/{name}/" for name in ("locks", "images", "compose", "helm", "monitoring", "systemd")
)
"""What `make`, builders of images and clusters read: of no use without the checkout."""


def run(folder: Path, *command: str | Path) -> str:
    """The output of a command that must succeed, without any setting of this machine."""
    env = {name: value for name, value in os.environ.items() if "PIXELMILL" not in name}
    env |= {"PIXELMILL_WEIGHTS_DIR": os.environ["PIXELMILL_WEIGHTS_DIR"], "PYTHONPATH": ""}
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, as a `build` folder of its own may hold old files."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        copytree(REPOSITORY / package, source / package, ignore=ignore_patterns(*GENERATED))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (source / name).write_bytes((REPOSITORY / name).read_bytes())
    return source


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps")
    run(source, *pip, "--no-build-isolation", "--wheel-dir", out, source)
    [wheel] = out.glob("pixelmill-*.whl")
    return wheel


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with this wheel, and other packages from our own."""
    venv = tmp_path_factory.mktemp("venv")
    run(venv, sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index")
    run(venv, *pip, "--no-deps", wheel)
    # A folder on the path, whose own .pth files (that of the editable install) do not count.
    [site_packages] = venv.glob("lib/python*/site-packages")
    (site_packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


def test_every_file_of_our_packages_is_in_the_wheel(source: Path, wheel: Path) -> None:
    paths = [path for package in PACKAGES for path in (source / package).rglob("*")]
    files = {str(path.relative_to(source)) for path in paths if path.is_file()}

    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert packed == {name for name in files if not name.startswith(LEFT_OUT)}


def test_no_module_comes_from_the_checkout(programs: Path, tmp_path: Path) -> None:
    code = f"for name in {PACKAGES}: print(__import__(name).__file__)"

    places = run(tmp_path, programs / "python", "-c", code).split()

    assert len(places) == len(PACKAGES)
    assert all(Path(place).is_relative_to(programs.parent) for place in places)


def test_help_is_printed(programs: Path, tmp_path: Path) -> None:
    assert "pixelmill up" in run(tmp_path, programs / "pixelmill", "--help")


def test_up_serves_page_and_api(programs: Path, tmp_path: Path) -> None:
    env = {"PYTHONPATH": "", "PIXELMILL_MODELS": "facemask", "PIXELMILL_DEVICE": "cpu"}
    up = Up(tmp_path, "--port", str(free_port()), env=env, program=programs / "pixelmill")
    try:
        up.wait_until_ready()
        url, key = str(up.run["url"]), {"Authorization": f"Bearer {up.run['api_key']}"}
        photo = (REPOSITORY / "examples" / "astronaut.jpg").read_bytes()
        predict = f"{url}/api/v1/predict/facemask?wait=30"
        answer = httpx.post(predict, content=photo, headers=key, timeout=40)
        page, script = httpx.get(f"{url}/ui/"), httpx.get(f"{url}/static/page.js")
    finally:
        code = up.stop()

    assert answer.status_code == 200 and answer.json()["state"] == "done", answer.text
    assert page.status_code == script.status_code == 200
    assert code == 0


def test_train_writes_weights(programs: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data")
    words = ("--data", "data", "--out", "out", "--epochs", "1", "--device", "cpu")

    run(tmp_path, programs / "pixelmill", "train", "facemask", *words)

    assert (tmp_path / "out" / "facemask.safetensors").stat().st_size > 0
