"""`python -m workers`: what the command line says is what starts."""

import os

import pytest

from workers import __main__ as door
from workers import boot


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What would have been started."""
    made: list[tuple[str, ...]] = []
    monkeypatch.setattr(door, "configure", lambda level: None)
    monkeypatch.setattr(boot, "cpu", lambda: made.append(("cpu",)))
    monkeypatch.setattr(boot, "gpu", lambda models: made.append(("gpu", models)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "untouched")
    return made


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cpu"], ("cpu",)),
        (["gpu"], ("gpu", "")),
        (["gpu", "--models", "toy,noop"], ("gpu", "toy,noop")),
    ],
)
def test_the_kind_of_worker_that_is_named_starts(
    started: list[tuple[str, ...]], arguments: list[str], expected: tuple[str, ...]
) -> None:
    door.main(arguments)

    assert started == [expected]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "untouched"


def test_a_gpu_worker_is_pinned_to_its_gpu(started: list[tuple[str, ...]]) -> None:
    door.main(["gpu", "--gpu", "3"])

    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"


@pytest.mark.parametrize("arguments", [[], ["tpu"], ["gpu", "--gpu", "first"]])
def test_a_command_that_makes_no_sense_starts_nothing(
    started: list[tuple[str, ...]], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        door.main(arguments)

    assert caught.value.code == 2 and "usage: pixelmill worker" in capsys.readouterr().err
    assert started == []
