"""What OpenVINO has compiled is kept, and loaded only if it is surely ours."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.models import registry
from tasks.models.nets import compiled, openvino
from tasks.settings import settings

FILE = registry.FOLDER / "facemask-detector.int8.onnx"
PICTURE = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 96)).astype(np.float32)

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64",
    reason="the package is installed on Linux and x86-64 alone",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of weights of an installation with a secret."""
    monkeypatch.setenv("PIXELMILL_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("PIXELMILL_SECRET", "a secret of this installation")
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time that OpenVINO compiles."""
    core, seen = openvino._silent().Core, []
    compile_model = core.compile_model

    def counted(self: Any, network: Any, *args: Any) -> Any:
        seen.append("compiled")
        return compile_model(self, network, *args)

    monkeypatch.setattr(core, "compile_model", counted)
    return seen


def kept_in(folder: Path) -> Path:
    [file] = folder.iterdir()
    return file


def test_a_network_that_was_compiled_before_is_not_compiled_again_and_answers_the_same(
    folder: Path, compilations: list[str]
) -> None:
    fresh = openvino.load(FILE, 1).run(PICTURE)

    loaded = openvino.load(FILE, 1).run(PICTURE)

    assert len(compilations) == 1
    assert np.array_equal(loaded, fresh)
    assert kept_in(folder).suffix == compiled.ENDING
    assert kept_in(folder).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("place", [0, 40, -1], ids=["hash", "form", "end"])
def test_a_damaged_form_is_compiled_anew(
    place: int, folder: Path, compilations: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    fresh = openvino.load(FILE, 1).run(PICTURE)
    content = bytearray(kept_in(folder).read_bytes())
    content[place] ^= 1
    kept_in(folder).write_bytes(content)

    again = openvino.load(FILE, 1).run(PICTURE)
    openvino.load(FILE, 1)

    assert len(compilations) == 2  # the second one replaced it
    assert np.array_equal(again, fresh)


def test_a_form_that_was_cut_short_is_compiled_anew(folder: Path, compilations: list[str]) -> None:
    openvino.load(FILE, 1)
    kept_in(folder).write_bytes(kept_in(folder).read_bytes()[:20])

    openvino.load(FILE, 1)

    assert len(compilations) == 2


def test_a_form_of_another_installation_is_not_loaded(
    folder: Path, compilations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino.load(FILE, 1)
    monkeypatch.setenv("PIXELMILL_SECRET", "a secret of somebody else")
    settings.cache_clear()

    openvino.load(FILE, 1)

    assert len(compilations) == 2


def test_a_form_for_other_settings_is_kept_beside(folder: Path, compilations: list[str]) -> None:
    openvino.load(FILE, 1)
    openvino.load(FILE, 2)

    assert len(compilations) == len(list(folder.iterdir())) == 2


def test_a_form_that_openvino_refuses_is_compiled_anew(
    folder: Path, compilations: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    openvino.load(FILE, 1)
    monkeypatch.setattr(compiled.Kept, "read", lambda self: b"not a form")

    openvino.load(FILE, 1)

    assert len(compilations) == 2


def test_without_a_secret_nothing_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMILL_SECRET", "")
    settings.cache_clear()

    openvino.load(FILE, 1)

    assert list(folder.iterdir()) == []


def test_where_the_folder_cannot_be_written_to_networks_are_loaded_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str, parts: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled, "write_new", full)

    assert openvino.load(FILE, 1).run(PICTURE).size
    assert list(folder.iterdir()) == []
