"""A volume on its way through the device: in chunks, a few ahead, and no further once cancelled."""

from collections import Counter
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np
import pytest

from storage.jobs.spec import RunRef, Spec
from tasks.errors import ModelFailure
from tasks.models import registry
from tasks.models.base import Inferred
from tasks.settings import settings
from tasks.slices import AHEAD, Pass
from tasks.work import Work
from workers.gpu.batcher import Batcher

SLICES = np.arange(100, dtype=np.float16).reshape(100, 1, 1, 1)
PATIENCE_S = 30.0


class Sent:
    """A device that answers a slice when it is told to."""

    def __init__(self) -> None:
        self.futures: list[Future[Inferred]] = []
        self.most = 0

    def submit(self, item: Any, deadline: float) -> "Future[Inferred]":
        future: Future[Inferred] = Future()
        self.futures.append(future)
        self.most = max(self.most, sum(not each.done() for each in self.futures))
        return future

    def answer_all(self) -> None:
        for number, future in enumerate(self.futures):
            if not future.done():
                future.set_result(Inferred(np.full((1, 1), number, np.float32)))


def passing(sent: Sent, **changed: Any) -> Pass:
    values = {
        "chunk": 16, "deadline_s": PATIENCE_S, "left_s": PATIENCE_S, "limit_s": PATIENCE_S,
        "submit": sent.submit, "report": lambda done, total: True, "stop": Future(),
    }  # fmt: skip
    return Pass(SLICES, **{**values, **changed})


def test_no_more_than_a_few_chunks_wait_and_each_output_is_at_its_place() -> None:
    sent = Sent()

    def submit(item: Any, deadline: float) -> "Future[Inferred]":
        future = sent.submit(item, deadline)
        if sent.most == AHEAD * 16:
            sent.answer_all()
        if len(sent.futures) == len(SLICES):
            sent.answer_all()
        return future

    stack = passing(sent, submit=submit).run()

    assert sent.most == AHEAD * 16
    assert stack.outputs.dtype == np.float16
    assert stack.outputs[:, 0, 0].tolist() == list(range(100))


def test_a_cancelled_volume_takes_its_slices_out_of_the_queue() -> None:
    sent, stop = Sent(), Future[None]()
    stop.cancel()

    with pytest.raises(CancelledError):
        passing(sent, stop=stop).run()

    assert len(sent.futures) == AHEAD * 16, "no more was sent"
    assert all(future.cancelled() for future in sent.futures)


def test_a_volume_that_takes_too_long_ends_with_its_limit() -> None:
    with pytest.raises(ModelFailure, match=r"after 30 s of work") as caught:
        passing(Sent(), left_s=0.01).run()

    assert caught.value.code == "timeout"


def test_slices_of_two_volumes_share_batches_and_a_photo_comes_between() -> None:
    batches: list[tuple[str, list[int]]] = []

    def run(bin: Any, items: Any) -> list[Any]:
        batches.append((bin, list(items)))
        return list(items)

    batcher = Batcher(run, lambda bin: 8)
    with batcher._lock:  # the device starts with all of them
        batcher._is_busy = True
    futures = [batcher.submit("ct", number, flow="ct") for number in range(8)]
    futures += [batcher.submit("ct", 100 + number, flow="ct") for number in range(20)]
    futures.append(batcher.submit("photo", 1))
    with batcher._lock:
        batcher._is_busy = False
        batcher._wake_device.notify()
    answers = [future.result(PATIENCE_S) for future in futures]
    batcher.stop()

    assert answers == [*range(8), *range(100, 120), 1]
    assert Counter(len(items) for bin, items in batches if bin == "ct") == {8: 3, 4: 1}
    assert [bin for bin, _ in batches].index("photo") <= 1, "it is not behind all slices"


def test_a_run_has_what_its_earlier_stages_have_left_of_its_models_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PIXELMILL_MODEL_LIMITS", "matting:seconds=30")
    settings.cache_clear()
    registry.get("matting")  # its import does not count
    spec = Spec("k", "ada", "matting", {}, [], "upload", "w", "c")

    work = Work(RunRef("k", 1), spec, worked_s=20)

    assert work.left_s == pytest.approx(10, abs=0.5)
    settings.cache_clear()
