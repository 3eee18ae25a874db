"""`python -m workers`: what the command line says is what starts."""

import pytest

from workers import __main__ as door
from workers import boot


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What would have been started."""
    made: list[tuple[str, ...]] = []
    monkeypatch.setattr(door, "configure", lambda level: None)
    monkeypatch.setattr(boot, "cpu", lambda: made.append(("cpu",)))
    monkeypatch.setattr(boot, "gpu", lambda models, gpu: made.append(("gpu", models, gpu)))
    return made


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cpu"], ("cpu",)),
        (["gpu"], ("gpu", "", None)),
        (["gpu", "--models", "toy,noop"], ("gpu", "toy,noop", None)),
        (["gpu", "--gpu", "3"], ("gpu", "", 3)),
    ],
)
def test_the_kind_of_worker_that_is_named_starts(
    started: list[tuple[str, ...]], arguments: list[str], expected: tuple[str, ...]
) -> None:
    door.main(arguments)

    assert started == [expected]


@pytest.mark.parametrize("arguments", [[], ["tpu"], ["gpu", "--gpu", "first"]])
def test_a_command_that_makes_no_sense_starts_nothing(
    started: list[tuple[str, ...]], arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        door.main(arguments)

    assert caught.value.code == 2 and "usage: pixelmill worker" in capsys.readouterr().err
    assert started == []
