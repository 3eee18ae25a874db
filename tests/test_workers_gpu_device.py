"""One device: how models are warmed and measured, how batches run, what a full memory does."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from stack import REPOSITORY

from tasks.errors import ModelFailure
from tasks.models import registry
from tasks.models.base import Inferred
from workers.gpu import device as device_module
from workers.gpu.accelerator import Accelerator, Cpu
from workers.gpu.batcher import Batcher
from workers.gpu.device import Device
from workers.gpu.model_card import model_card

pytest_plugins = ["inprocess"]

BIN = ("simulated", (3, 32, 32), "float32")
BIG = ("simulated", (3, 128, 128), "float32")
MODELS = REPOSITORY / "tests" / "models"

COUNTING = """
import torch
from tasks.models.base import Model, Output, Params

SEEN = []

def infer(session, batch):
    SEEN.append(tuple(batch.shape))
    assert torch.is_inference_mode_enabled()
    return {answer}

MODEL = Model(
    title="Counting", kind="labels", params=Params, load=lambda weights, device: {session},
    preprocess=lambda image, params: None, infer=infer,
    postprocess=lambda output, image, params, wanted: Output(),
    bins=((8, 8), (8, 16)), decode="none", max_batch=4,
)
"""


@pytest.fixture
def plug_in(in_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes model `name` of this file's kind and lets the registry find it."""

    def write(name: str, answer: str = "batch + 1", session: str = "None") -> None:
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(COUNTING.format(answer=answer, session=session))
        monkeypatch.setenv("PIXELMILL_MODEL_PATHS", str(folder))
        device_module.settings.cache_clear()

    return write


class SimulatedGpu(Cpu):
    """A GPU with memory of its own that can be lost; its arithmetic is the processor's."""

    name = "simulated"

    def __init__(self, room: int | None = None, image_bytes: int = 0) -> None:
        self.room, self.image_bytes, self.freed = room, image_bytes, 0

    def free(self) -> None:
        self.freed += 1

    def room_bytes(self) -> int | None:
        return self.room

    def peak_bytes(self, run: Callable[[], object]) -> int:
        shapes: list[tuple[int, ...]] = []
        put, self.put = self.put, lambda batch: shapes.append(batch.shape) or put(batch)  # type: ignore[func-returns-value, method-assign]
        run()
        self.put = put  # type: ignore[method-assign]
        return shapes[0][0] * self.image_bytes

    def is_lost(self, error: BaseException) -> bool:
        return "poison" in str(error) and "kills" in str(error)


@pytest.fixture
def simulated(in_process: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Device]:
    """A device with the simulated model; its curve and memory as the variable SIMULATED says."""

    def make(setting: str, on: Accelerator | None = None, *names: str, **kept: str) -> Device:
        monkeypatch.setenv("SIMULATED", setting)
        monkeypatch.setenv("PIXELMILL_MODEL_PATHS", str(MODELS))
        for name, value in kept.items():
            monkeypatch.setenv(f"PIXELMILL_{name.upper()}", value)
        device_module.settings.cache_clear()
        device = Device(on or Cpu())
        for name in names or ("simulated",):
            device.load(name)
        return device

    return make


def image(number: int, bin: Any = BIN, fault: int = 0) -> Any:
    array = np.full(bin[1], number, np.float32)
    array[1] = fault
    return array


def outputs(answers: Sequence[Any]) -> list[Any]:
    """The arrays of answers that are no errors."""
    assert all(isinstance(answer, Inferred) for answer in answers), answers
    return [answer.array for answer in answers]


def numbers(answers: Sequence[Any]) -> list[int]:
    return [int(array[0, 0, 0]) for array in outputs(answers)]


def seen(name: str) -> list[tuple[int, ...]]:
    """Shapes of the batches that the plug-in was given."""
    shapes: list[tuple[int, ...]] = registry.get(name).infer.__globals__["SEEN"]
    return shapes


@pytest.mark.parametrize(
    ("curve", "largest"),
    [("a=20 b=2", 16), ("a=8 b=0.5", 16), ("a=0 b=60", 1)],
    ids=["slow", "fast", "serial"],
)
def test_images_are_batched_where_it_pays(
    simulated: Callable[..., Device], curve: str, largest: int
) -> None:
    assert simulated(curve).limit(BIN) == largest


def test_every_bin_is_warmed(plug_in: Any) -> None:
    plug_in("warmed")

    Device(Cpu()).load("warmed")

    assert {shape[2:] for shape in seen("warmed")} == {(8, 8), (8, 16)}
    assert {shape[0] for shape in seen("warmed")} == {1, 2}, "measured with one and two"


def test_a_batch_runs_as_one_and_answers_in_order(plug_in: Any) -> None:
    plug_in("ordered")
    device = Device(Cpu())
    device.load("ordered")
    arrays = [np.full((3, 8, 8), number, np.float32) for number in range(3)]
    before = len(seen("ordered"))

    answers = outputs(device.run(("ordered", (3, 8, 8), "float32"), arrays))

    assert seen("ordered")[before:] == [(3, 3, 8, 8)]
    assert [float(answer.max()) for answer in answers] == [1, 2, 3]
    assert all(answer.shape == (3, 8, 8) and answer.dtype == np.float32 for answer in answers)


def test_read_only_arrays_can_be_run(plug_in: Any) -> None:
    plug_in("mapped")
    device = Device(Cpu())
    device.load("mapped")
    array = np.zeros((3, 8, 8), np.float32)
    array.flags.writeable = False

    [answer] = outputs(device.run(("mapped", array.shape, "float32"), [array]))

    assert float(answer.max()) == 1


def test_answers_stay_what_they_are_when_the_next_batch_is_assembled(plug_in: Any) -> None:
    plug_in("echo", answer="batch")  # a view of what it was given
    device, bin = Device(Cpu()), ("echo", (3, 8, 8), "float32")
    device.load("echo")
    slots = device.slots(bin, 4)
    slots[0], slots[1] = 1, 2

    answers = outputs(device.run(bin, slots[:2]))
    slots[:] = 9

    assert [float(answer.max()) for answer in answers] == [1, 2]
    assert seen("echo")[-1] == (2, 3, 8, 8)


def test_where_no_memory_is_left_to_assemble_a_batch_it_is_run_all_the_same(plug_in: Any) -> None:
    class Crowded(Cpu):
        def room_for(self, shape: Sequence[int], dtype: str) -> Any:
            raise MemoryError

    plug_in("crowded")
    device, bin = Device(Crowded()), ("crowded", (3, 8, 8), "float32")
    device.load("crowded")
    batcher = Batcher(device.run, device.limit, slots=device.slots)

    answer = batcher.submit(bin, np.ones((3, 8, 8), np.float32)).result(10)
    batcher.stop()

    assert float(answer.array.max()) == 2


def test_half_precision_comes_back_as_float32(plug_in: Any) -> None:
    plug_in("halves", answer="batch.half()")
    device = Device(Cpu())
    device.load("halves")
    ones = np.ones((3, 8, 8), np.float32)

    [answer] = outputs(device.run(("halves", (3, 8, 8), "float32"), [ones]))

    assert answer.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("bad_load", {"session": "1 / 0"}, "ZeroDivisionError: division by zero"),
        ("bad_infer", {"answer": "session.missing"}, "AttributeError: 'NoneType' object has no"),
    ],
)
def test_a_model_that_cannot_be_warmed_says_why(
    plug_in: Any, name: str, given: dict[str, str], reason: str
) -> None:
    plug_in(name, **given)

    with pytest.raises(ModelFailure, match=f"model '{name}' could not be warmed up: {reason}"):
        Device(Cpu()).load(name)


def test_a_card_has_all_that_others_know_of_a_model(
    in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXELMILL_MODEL_PATHS", str(MODELS))
    device_module.settings.cache_clear()
    device = Device(Cpu())
    device.load("toy")

    card = model_card("toy", device.loaded)

    assert (card["name"], card["title"], card["kind"]) == ("toy", "Toy brightener", "labels")
    assert card["params"]["properties"]["gain"]["default"] == 1.5
    assert card["weights"].startswith("sha256:") and card["code"].startswith("sha256:")
    assert (card["licence"], card["decode"], card["device"]) == ("Apache-2.0", "rgb", "cpu")
    assert set(card["cost_ms"]) == {"a", "b"} and min(card["cost_ms"].values()) >= 0
    assert card["weights_bytes"] == 0


def test_pixels_bound_a_batch_of_large_images(simulated: Callable[..., Device]) -> None:
    device = simulated("a=20 b=0.1", batch_megapixels="0.05")

    assert (device.limit(BIN), device.limit(BIG)) == (16, 3)


def test_an_image_larger_than_the_budget_runs_alone(simulated: Callable[..., Device]) -> None:
    assert simulated("a=20 b=0.1", batch_megapixels="0.001").limit(BIG) == 1


def test_free_memory_bounds_a_batch_where_it_can_be_measured(
    simulated: Callable[..., Device],
) -> None:
    device = simulated("a=20 b=0.1", SimulatedGpu(room=1000, image_bytes=100))

    assert device.limit(BIN) == 9, "nine tenths of what is free"


def test_a_batch_too_large_for_the_memory_is_halved_and_all_are_answered(
    simulated: Callable[..., Device],
) -> None:
    gpu = SimulatedGpu()
    device = simulated("a=5 b=0.1", gpu)
    device_is_now_small(device, 6 * 32 * 32)

    answers = device.run(BIN, [image(number) for number in range(16)])

    assert numbers(answers) == list(range(16))
    assert device.fallback_chain.counts == {"full": 2, "halved": 2}
    assert (device.limit(BIN), gpu.freed) == (4, 2)


def test_a_bin_too_large_for_the_device_is_found_at_the_start_and_keeps_nobody_from_starting(
    simulated: Callable[..., Device],
) -> None:
    device = simulated(f"a=5 b=0.1 pixels={64 * 64}", SimulatedGpu())
    session = device.loaded["simulated"].session

    assert numbers(device.run(BIG, [image(3, BIG)])) == [3]
    assert device.fallback_chain.counts == {"cpu": 1}, "it goes straight to where there is room"
    assert session.max_pixels == 64 * 64


def test_a_device_without_room_for_any_bin_refuses_the_model(
    simulated: Callable[..., Device],
) -> None:
    with pytest.raises(ModelFailure, match="could not be warmed up: OutOfMemoryError"):
        simulated("a=5 b=0.1 cpu_pixels=100")


def test_an_image_that_fits_nowhere_on_the_gpu_runs_on_the_cpu(
    simulated: Callable[..., Device],
) -> None:
    device = simulated("a=1 b=0.1", SimulatedGpu())
    device_is_now_small(device, 100)

    answers = device.run(BIG, [image(7, BIG), image(8, BIG)])

    assert numbers(answers) == [7, 8]
    assert device.fallback_chain.counts["cpu"] == 2
    assert not any(answer.is_degraded for answer in answers if isinstance(answer, Inferred))


def test_an_image_that_fits_nowhere_at_all_fails_alone_with_its_reason(
    simulated: Callable[..., Device],
) -> None:
    device = simulated("a=1 b=0.1")
    device_is_now_small(device, 64 * 64)
    batcher = Batcher(device.run, device.limit, slots=device.slots)

    large, small = batcher.submit(BIG, image(1, BIG)), batcher.submit(BIN, image(2))

    with pytest.raises(ModelFailure, match="memory for one image of 128 x 128") as caught:
        large.result(10)
    assert caught.value.code == "out_of_memory"
    assert numbers([small.result(10)]) == [2]
    batcher.stop()


def device_is_now_small(device: Device, pixels: int) -> None:
    """Somebody else has taken most of the memory since the models were warmed."""
    session = device.loaded["simulated"].session
    object.__setattr__(session, "max_pixels", pixels)


FAMILY = """
from dataclasses import replace
from tasks.models import registry
from tests_simulated import MODEL as FULL

MODEL = replace(FULL, title="{title}", fallback={fallback}, shrinks={shrinks},
                load=lambda weights, device: FULL.load(weights, "{device}"))
"""


@pytest.fixture
def family(
    simulated: Callable[..., Device], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Device]:
    """Plug-ins `heavy` and `light` of the simulated kind: light has the CPU's memory."""
    monkeypatch.setitem(device_module.registry.sys.modules, "tests_simulated", simulated_module())

    def make(setting: str, *, fallback: str | None, shrinks: bool) -> Device:
        folder = tmp_path / f"{fallback}{shrinks}"
        folder.mkdir()
        heavy = FAMILY.format(title="Heavy", fallback=repr(fallback), shrinks=shrinks, device="gpu")
        light = FAMILY.format(title="Light", fallback=None, shrinks=False, device="cpu")
        (folder / "heavy.py").write_text(heavy)
        (folder / "light.py").write_text(light)
        registry._load.cache_clear()
        monkeypatch.setattr(f"{__name__}.MODELS", folder)
        return simulated(setting, None, "heavy")

    return make


def simulated_module() -> Any:
    registry._load.cache_clear()
    name = "simulated"
    return SimpleNamespace(MODEL=registry._load(name, REPOSITORY / "tests/models/simulated.py"))


HEAVY = ("heavy", (3, 64, 64), "float32")


def test_where_the_model_allows_it_a_smaller_bin_serves_and_the_map_comes_back_in_size(
    family: Callable[..., Device],
) -> None:
    device = family("a=1 b=0.1", fallback=None, shrinks=True)
    object.__setattr__(device.loaded["heavy"].session, "max_pixels", 32 * 32)

    answers = device.run(HEAVY, [image(5, HEAVY), image(6, HEAVY)])

    assert numbers(answers) == [5, 6]
    assert [array.shape for array in outputs(answers)] == [(1, 64, 64)] * 2
    assert all(answer.is_degraded for answer in answers if isinstance(answer, Inferred))
    assert device.fallback_chain.counts["smaller_bin"] == 2


def test_the_fallback_serves_what_the_model_has_no_room_for(
    family: Callable[..., Device],
) -> None:
    device = family("a=1 b=0.1", fallback="light", shrinks=False)
    object.__setattr__(device.loaded["heavy"].session, "max_pixels", 0)

    answers = device.run(HEAVY, [image(5, HEAVY), image(6, HEAVY)])

    assert numbers(answers) == [5, 6]
    assert all(answer.is_degraded for answer in answers if isinstance(answer, Inferred))
    assert device.fallback_chain.counts["degraded"] == 2


def test_a_fallback_that_does_not_exist_is_found_at_the_start(
    family: Callable[..., Device],
) -> None:
    with pytest.raises(ModelFailure, match="the fallback of 'heavy': no model 'lihgt'"):
        family("a=1 b=0.1", fallback="lihgt", shrinks=False)


def test_a_lost_device_ends_the_process(simulated: Callable[..., Device]) -> None:
    ended: list[int] = []
    device = simulated("a=1 b=0.1", SimulatedGpu())
    device._end = ended.append
    device.main.is_lost = lambda error: "poison" in str(error)  # type: ignore[method-assign]

    with pytest.raises(ValueError, match="poison"):
        device.run(BIN, [image(1, fault=1)])

    assert ended == [70]


def test_one_poison_image_of_eight_hurts_no_neighbour(simulated: Callable[..., Device]) -> None:
    device = simulated("a=1 b=0.1")
    batcher = Batcher(device.run, device.limit, slots=device.slots)

    futures = [batcher.submit(BIN, image(number, fault=number == 5)) for number in range(8)]
    errors = [future.exception(10) for future in futures]

    assert [number for number, error in enumerate(errors) if error] == [5]
    assert numbers([futures[number].result() for number in (0, 4, 6, 7)]) == [0, 4, 6, 7]
    batcher.stop()


@pytest.mark.measures_time
def test_batches_teach_the_cost_that_the_model_card_shows(
    simulated: Callable[..., Device],
) -> None:
    device = simulated("a=40 b=4")

    for n in (1, 4, 8) * 3:
        device.run(BIN, [image(number) for number in range(n)])

    cost_ms = model_card("simulated", device.loaded)["cost_ms"]
    assert 32 <= cost_ms["a"] <= 80 and 2.8 <= cost_ms["b"] <= 8


def test_a_card_counts_an_image_as_what_is_usually_asked_for(
    simulated: Callable[..., Device],
) -> None:
    device = simulated("a=0 b=1")
    loaded = device.loaded["simulated"]
    for _ in range(100):
        loaded.count((6, 32, 32))  # two looks

    cost_ms = model_card("simulated", device.loaded)["cost_ms"]

    assert cost_ms["b"] == pytest.approx(2 * loaded.cost.b_ms, rel=0.02)


BIN8 = ("compiled", (3, 8, 8), "float32")


def test_each_bin_is_compiled_for_itself_and_takes_any_number_of_images(
    plug_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    compiler = partial(torch.compile, backend="eager")  # no C++ is compiled for a test

    def compile(net: torch.nn.Module) -> Any:
        made.append(compiler(net))
        return made[-1]

    monkeypatch.setattr(torch, "compile", compile)
    monkeypatch.setenv("PIXELMILL_COMPILE", "true")
    plug_in("compiled", answer="session(batch)", session="torch.nn.ReLU()")
    device = Device(Cpu())
    device.load("compiled")

    answers = device.run(("compiled", (3, 8, 8), "float32"), [image(n, BIN8) for n in range(5)])

    assert len(made) == 2 and set(device.loaded["compiled"].compiled) == {(8, 8), (8, 16)}
    assert numbers(answers) == [0, 1, 2, 3, 4]
