"""Whatever the child does, the parent gets an answer or a BadInput, and nothing is left over."""

import os
import secrets
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import psutil
import pytest

from tasks.errors import BadInput, ModelFailure, Unavailable
from tasks.imaging import helper as fork_helper
from tasks.imaging import sandbox, shared_memory

SMALL = sandbox.Allowance(memory_bytes=200 * 2**20, cpu_s=0.3, wall_s=1.5)
LARGE = sandbox.Allowance(memory_bytes=2**30, cpu_s=30, wall_s=60)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="these layers are Linux's")


def run(work, data=b"", memory_bytes=100, allowance=SMALL, **arguments):
    return sandbox.run(f"hostile:{work}", data, arguments, memory_bytes, allowance)


def helper() -> psutil.Process:
    return psutil.Process(fork_helper.get().process.pid)


def pipes_and_handles() -> list[str]:
    """The open ones of this process. Sockets are left out, and what waits for them: event loops and
    clients of other tests of this process open and close theirs at any time."""
    kinds = []
    for file in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            kinds.append(os.readlink(f"/proc/self/fd/{file}"))
    others = ("socket:", "anon_inode:[eventpoll]", "/proc/")
    return sorted(kind for kind in kinds if not kind.startswith(others))


@pytest.fixture(autouse=True)
def nothing_left_over():
    """No zombie, no open pipe, no child that lives on: of ours, or of the helper."""
    run("nothing")
    me, files = psutil.Process(), pipes_and_handles()
    of_others = {*me.children()} - {helper()}  # servers that other tests of this process share
    yield
    run("nothing")
    assert {*me.children()} - of_others == {helper()}
    assert pipes_and_handles() == files
    give_up_at = time.monotonic() + 10
    while helper().children() and time.monotonic() < give_up_at:
        time.sleep(0.1)
    assert helper().children() == []
    assert helper().num_fds() <= 5


def refused(work, **arguments):
    with pytest.raises(BadInput) as caught:
        run(work, **arguments)
    assert (caught.value.status, caught.value.code) == (422, "decode_failed")
    return str(caught.value.__cause__)


def test_answer_and_memory_come_back():
    answer, memory = run("write", data=b"bytes", width=4)

    assert answer == {"height": 3, "data": "bytes", "width": 4}
    assert memory.tolist() == [7, 8, 9, *[0] * 97]


def test_an_error_is_bad_input_and_its_text_is_for_the_log():
    assert "0x7f" in refused("fail")


def test_a_crash_is_bad_input():
    assert "died" in refused("crash")


def test_a_child_that_somebody_killed_is_no_fault_of_the_picture():
    wide = sandbox.Allowance(memory_bytes=200 * 2**20, cpu_s=20, wall_s=20)
    give_up_at = time.monotonic() + 10
    while helper().children() and time.monotonic() < give_up_at:
        time.sleep(0.001)  # the one of the fixture may not have been reaped yet
    killed = []

    def kill_first():
        while not killed:
            killed.extend(helper().children())
            time.sleep(0.001)
        killed[0].send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_first)
    killer.start()
    answer, _ = run("slow_write", allowance=wide)
    killer.join()

    assert answer["height"] == 3


def test_leaving_early_is_bad_input():
    assert "died" in refused("leave")


@pytest.mark.measures_time
@pytest.mark.parametrize("work", ["loop", "stall"])
def test_a_loop_is_stopped_by_its_cpu_time_and_a_stall_by_the_clock(work):
    start = time.monotonic()
    refused(work)

    assert time.monotonic() - start < 10


def test_too_much_memory_is_bad_input():
    assert refused("fill") == "out of memory"


@pytest.mark.parametrize("answer", [[1], "x", None, float("nan")])
def test_an_answer_of_another_shape_is_bad_input(answer):
    refused("answer_otherwise", answer=answer)


@pytest.mark.parametrize("work", ["answer_no_json", "answer_much"])
def test_an_answer_that_is_no_json_or_too_long_is_bad_input(work):
    refused(work)


def test_work_that_does_not_exist_is_our_fault():
    with pytest.raises(ModelFailure, match="no_such_thing"):
        run("no_such_thing")


def test_a_child_cannot_see_the_picture_before():
    for _ in range(2):
        run("write", memory_bytes=2**20)

        assert run("look", memory_bytes=2**20)[0] == {"sum": 0}


def test_a_child_cannot_see_the_bytes_of_a_longer_file_before():
    run("nothing", b"x" * 2**20, memory_bytes=2**20)

    assert run("look", memory_bytes=2**21)[0] == {"sum": 0}


def test_an_array_in_use_is_not_written_to_by_the_next_child():
    first = run("write")[1][:3]
    second = run("write")[1]
    second[:3] = 1

    assert first.tolist() == [7, 8, 9]


@on_linux
def test_memory_is_used_again_once_nobody_has_its_array():
    address = run("write")[1].ctypes.data

    assert run("write")[1].ctypes.data == address


@on_linux
def test_a_process_forked_with_an_array_neither_clears_nor_lends_it():
    memory = run("write")[1]
    child = os.fork()
    if child == 0:
        del memory
        os._exit(len(shared_memory._spare))

    assert os.waitpid(child, 0)[1] == 0
    assert memory[:3].tolist() == [7, 8, 9]


@on_linux
def test_a_forked_process_has_no_memory_that_its_parent_keeps():
    run("write")
    child = os.fork()
    if child == 0:
        os._exit(len(shared_memory._spare))

    assert os.waitpid(child, 0)[1] == 0


# What a child that was taken over can do


@on_linux
def test_all_layers_hold_here():
    found = sandbox.layers()

    assert found.pop("user") == ("on" if os.geteuid() == 0 else "off: not started as root")
    assert found == {"closed memory": "on", "seccomp": "on"}


@on_linux
def test_a_child_opens_starts_and_signals_nothing():
    seen = []
    handler = signal.signal(signal.SIGUSR2, lambda *_: seen.append(1))

    outcomes = run("try_all", parent=os.getpid())[0]

    signal.signal(signal.SIGUSR2, handler)
    assert [name for name, outcome in outcomes.items() if outcome == "done"] == []
    assert seen == []


@on_linux
def test_a_fork_bomb_gets_no_process():
    assert run("crowd")[0] == {"born": 0}


@on_linux
def test_a_secret_is_neither_in_the_memory_nor_in_the_environment_of_the_child(monkeypatch):
    secret = secrets.token_bytes(32)
    monkeypatch.setenv("PIXELMILL_SECRET", secret.hex())
    fork_helper.stop()  # the next helper would inherit it
    run("nothing")

    for needle in (secret, secret.hex().encode()):
        flipped = [byte ^ 255 for byte in needle]
        assert run("search", allowance=LARGE, flipped=flipped)[0] == {"found": 0}
    state = run("modules")[0]
    assert state["settings"] is False
    assert not [name for name in state["environ"] if name.startswith("PIXELMILL_")]
    assert secret.hex() not in str(helper().environ())


@on_linux
def test_the_search_does_find_what_is_there():
    """A self-test of the test above: the child's own arguments are in its memory."""
    argument = secrets.token_hex(16)
    flipped = [byte ^ 255 for byte in argument.encode()]

    found = run("search", b"", 100, LARGE, text=argument, flipped=flipped)[0]["found"]

    assert found >= 1


# Deaths and interruptions


def test_a_helper_that_was_killed_is_replaced_unnoticed():
    before = helper()
    before.kill()
    before.wait(10)

    assert run("write")[0]["height"] == 3
    assert helper() != before


def test_a_helper_that_dies_with_a_picture_in_hand_is_replaced_and_the_picture_not_blamed():
    before = helper()
    threading.Timer(0.5, before.kill).start()
    slow = sandbox.Allowance(2**28, 10, 2)

    with pytest.raises(BadInput):  # of the second try, which nobody disturbed
        run("stall", allowance=slow)

    assert helper() != before


def test_helpers_that_die_again_and_again_are_no_fault_of_the_picture(monkeypatch):
    monkeypatch.setattr(sandbox, "TRIES", 1)
    threading.Timer(0.5, helper().kill).start()

    with pytest.raises(Unavailable):
        run("stall", allowance=sandbox.Allowance(2**28, 10, 5))


def test_a_helper_that_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr(fork_helper, "ANSWER_S", 3.0)  # enough for the next one on a busy machine
    monkeypatch.setattr(fork_helper, "END_S", 0.5)
    before = helper()
    before.suspend()

    assert run("write")[0]["height"] == 3
    assert helper() != before and not before.is_running()


def test_a_neighbour_of_a_crash_is_not_hurt():
    with ThreadPoolExecutor(4) as threads:
        crashes = [threads.submit(refused, "crash") for _ in range(8)]
        others = [threads.submit(run, "write") for _ in range(8)]

    assert all("died" in crash.result() for crash in crashes)
    assert all(other.result()[0]["height"] == 3 for other in others)


def test_a_forked_process_uses_the_helper_of_its_parent():
    used = helper().pid
    child = os.fork()
    if child == 0:
        is_so = run("write")[0]["height"] == 3 and fork_helper.get().process.pid == used
        os._exit(0 if is_so else 1)

    assert os.waitpid(child, 0)[1] == 0


def test_the_helper_ends_with_the_last_process_that_holds_it():
    previous = helper()
    fork_helper.stop()

    assert not previous.is_running()


def test_the_signals_that_stop_a_worker_leave_its_helper_to_it():
    previous = helper()
    for number in (signal.SIGTERM, signal.SIGINT):
        previous.send_signal(number)
    time.sleep(0.2)

    assert run("write")[0]["height"] == 3
    assert helper() == previous


def test_a_caller_that_is_interrupted_leaves_no_child():
    def interrupt(*_):
        raise InterruptedError("soft time limit")

    handler = signal.signal(signal.SIGUSR1, interrupt)
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    try:
        with pytest.raises(InterruptedError):
            run("stall", allowance=sandbox.Allowance(2**28, 10, 30))
    finally:
        signal.signal(signal.SIGUSR1, handler)


@pytest.mark.parametrize("size", [4096, shared_memory.MOST_KEPT + 1])
def test_the_shared_memory_cannot_be_cut_short_under_the_caller(size):
    lent = shared_memory.lend(size)
    try:
        with pytest.raises(PermissionError):
            os.ftruncate(lent.file, 0)
    finally:
        lent.close()


def test_arrays_live_as_long_as_they_are_used():
    memory = run("write")[1]

    assert isinstance(memory, np.ndarray) and memory[:3].tolist() == [7, 8, 9]
