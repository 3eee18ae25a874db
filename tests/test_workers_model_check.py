"""`pixelmill models check`: what it says of a model file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import new_model
from workers import model_check
from workers.gpu.accelerator import Cpu
from workers.gpu.device import Device
from workers.model_check import Failed, ModelCheck

PHOTO = Path(__file__).parents[1] / "examples" / "coffee.jpg"


@pytest.fixture(autouse=True)
def folder(model_folder: Path) -> Path:
    return model_folder


def written(folder: Path, name: str, old: str = "", new: str = "") -> Path:
    """The template as a model file, with one change."""
    text = new_model.TEMPLATE.read_text()
    assert old in text
    file = folder / f"{name}.py"
    file.write_text(text.replace(old, new, 1) if old else text)
    return file


def check(file: Path, photo: Path | None = PHOTO, *given: str, out: Path | None = None) -> None:
    ModelCheck(file, Device(Cpu()), out).run(photo, given)


def test_a_model_that_works_passes_with_drawn_photos(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(written(folder, "whole"), None)

    lines = capsys.readouterr().out.splitlines()
    assert "ok   preprocess of a drawn 16 x 16: 3 x 256 x 256 float32" in "\n".join(lines)
    assert not [line for line in lines if line.startswith("fail")]


def test_the_pictures_that_it_makes_are_kept_where_that_is_asked_for(
    folder: Path, tmp_path: Path
) -> None:
    check(written(folder, "kept"), out=tmp_path / "tried")

    assert (tmp_path / "tried" / "coffee.jpg.alpha.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_function_raises_is_said_with_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(
        folder, "raises", "    matte = np.where", "    matte = image.missing or np.where"
    )

    with pytest.raises(Failed):
        check(file)

    said = capsys.readouterr().out
    assert "fail postprocess of coffee.jpg: AttributeError" in said
    assert ": matte = image.missing or" in said and "raises.py:" in said


def test_what_a_function_returns_wrongly_is_said_with_its_remedy(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Failed):
        check(written(folder, "tuples", "list(session(batch)", "list((session(batch),)"))

    assert "fail load: model 'tuples'" in capsys.readouterr().out


def test_nan_in_what_goes_to_the_device_is_found(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Failed):
        check(written(folder, "nan", "np.float32) / 255", "np.float32) / np.nan"))

    assert "there are NaN or infinite numbers" in capsys.readouterr().out


def test_an_answer_that_depends_on_the_rest_of_its_batch_is_warned_of(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(written(folder, "mixes", "list(session(batch)", "list(session(batch - batch[:1])"))

    assert "another answer in a batch of two than alone" in capsys.readouterr().out


def test_memory_that_grows_with_each_photo_is_warned_of(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_check, "REPEATS", 4)
    grows = "    globals().setdefault('KEPT', []).append(np.ones(10_000_000))\n    matte = np.where"

    check(written(folder, "grows", "    matte = np.where", grows))

    assert "warn memory: grew by" in capsys.readouterr().out


def test_a_parameter_that_the_model_refuses_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Failed):
        check(written(folder, "refuses"), PHOTO, "threshold=7")

    assert "fail parameters: ValidationError" in capsys.readouterr().out


def test_the_command_ends_with_one_for_a_broken_file(folder: Path) -> None:
    (folder / "broken.py").write_text("def half(:")
    command = [sys.executable, "-m", "deploy.cli", "models", "check", str(folder / "broken.py")]

    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ})

    assert done.returncode == 1, done.stderr
    assert "fail file: the model file" in done.stdout and "SyntaxError" in done.stdout
