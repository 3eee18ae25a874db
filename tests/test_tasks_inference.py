"""A device that gives no answer in time is said to have given none."""

from concurrent.futures import Future
from time import monotonic
from typing import Any

import pytest

from storage.jobs.spec import RunRef
from tasks import inference
from tasks.errors import Expired, ModelFailure
from tasks.message import new_message

pytest_plugins = ["inprocess"]

MESSAGE = new_message("toy", "batch", [RunRef("a", 1)])


def test_an_answer_that_does_not_come_is_waited_for_until_the_deadline(
    in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "RENEW_S", 0.02)
    future: Future[Any] = Future()
    began = monotonic()

    with pytest.raises(ModelFailure) as caught:
        inference.wait_with_heartbeats(future, MESSAGE, began + 0.1)

    assert caught.value.code == "timeout"
    assert monotonic() - began >= 0.1
    assert future.cancelled(), "the device need not begin it"


def test_an_image_that_the_device_came_to_too_late_is_a_timeout(in_process: None) -> None:
    future: Future[Any] = Future()
    future.set_exception(Expired("the deadline came before the device was free"))

    with pytest.raises(ModelFailure) as caught:
        inference.wait_with_heartbeats(future, MESSAGE, monotonic() + 10)

    assert caught.value.code == "timeout"


def test_an_answer_that_comes_late_is_an_answer(
    in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "RENEW_S", 0.02)

    class Late(Future[Any]):
        asked = 0

        def result(self, timeout: float | None = None) -> Any:
            self.asked += 1
            if self.asked == 3:
                self.set_result("late")
            return super().result(timeout)

    assert inference.wait_with_heartbeats(Late(), MESSAGE, monotonic() + 10) == "late"
