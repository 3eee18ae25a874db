"""Every file of the corpus gets the status that it should, at a bounded price."""

import resource
import subprocess
import sys

import corpus
import numpy as np
import pytest

from tasks.errors import BadInput
from tasks.imaging import codec, guard, sandbox

MAX_CPU_S = 2.0
MAX_MIB = 350


@pytest.fixture
def peak_mib(monkeypatch):
    """What the last child used on top of what it was born with."""
    run, peaks = sandbox.run, [0.0]

    def measured(work, memory_bytes, allowance):
        def watched(memory):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                return work(memory[:-8])
            finally:
                after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                memory[-8:].view(np.uint64)[0] = after - before

        answer, memory = run(watched, memory_bytes + 8 - memory_bytes % 8 + 8, allowance)
        peaks[0] = memory[-8:].view(np.uint64)[0] / 1024
        return answer, memory[:-8]

    monkeypatch.setattr(sandbox, "run", measured)
    return peaks


def test_there_are_enough_files_of_every_kind():
    statuses = [file.status for file in corpus.files().values()]

    assert len(statuses) >= 200
    assert {200, 413, 415, 422} == set(statuses)


def test_making_the_corpus_twice_gives_the_same_bytes():
    for source in (corpus.jpegs, corpus.avifs, corpus.webps, corpus.polyglots):
        assert list(source()) == list(source())


FRESH = """
import pathlib, sys
from tasks.imaging import codec, guard
for path in pathlib.Path(sys.argv[1]).iterdir():
    data = path.read_bytes()
    codec.decode(data, guard.check(data))
"""


def test_a_process_that_has_decoded_nothing_before_reads_every_good_file(tmp_path):
    """The child can open no file, so what it needs must be imported before the fork."""
    for name, file in corpus.files().items():
        if file.status == 200 and len(file.data) < 100_000 and "49" not in name:
            (tmp_path / name).write_bytes(file.data)

    subprocess.run([sys.executable, "-c", FRESH, tmp_path], check=True, timeout=120)


def answer(data: bytes) -> tuple[int, float]:
    """(status, CPU seconds of the child)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        codec.decode(data, guard.check(data))
        status = 200
    except BadInput as error:
        status = error.status
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return status, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("name", list(corpus.files()))
def test_a_file_of_the_corpus_is_answered_as_it_should(name, peak_mib):
    data, expected = corpus.files()[name]
    status, cpu_s = answer(data)

    if cpu_s > MAX_CPU_S:  # a busy neighbour slows a shared core down: the better of two counts
        status, cpu_s = answer(data)
    assert status == expected
    assert cpu_s <= MAX_CPU_S
    assert peak_mib[0] <= MAX_MIB
