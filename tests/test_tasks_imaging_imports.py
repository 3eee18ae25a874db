"""A confined process can open no file, so all that decoding needs is imported before the fork."""

import pickle
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import colours
import corpus
import numpy as np
import pytest
from nifti_files import nifti_gz
from stack import REPOSITORY

from tasks.imaging import codec, cutouts, guard, sandbox
from tasks.imaging.cutouts import Look
from tasks.imaging.volumes import opening

LATE = """
import importlib, pickle, sys
import numpy as np
from tasks.imaging import fork_server
requests = pickle.load(sys.stdin.buffer)
for name, (work, data, room, arguments) in requests.items():
    run = fork_server._work(work)
    before = set(sys.modules)
    run(data, np.zeros(room, np.uint8), arguments)
    if late := sorted(set(sys.modules) - before):
        print(name, *late)
"""
"""What a helper does, but unconfined and without forks: prints what is imported only then."""


def pictures() -> Mapping[str, bytes]:
    """The small ones of the corpus' odd but whole files, and one of each kind of profile."""
    whole = [
        (name, file.data)
        for name, file in corpus.files().items()
        if file.status == 200 and not file.is_slow_to_make and len(file.data) < 20_000
    ]
    small = {
        name: data
        for name, data in whole
        if guard.complete(data, guard.check(data)).pixels <= 96 * 64
    }
    space = colours.SPACES["adobe"]
    profiles = {"matrix": space.icc(), "list": space.icc(version=2)}
    profiles |= {"table": colours.table_icc(space), "inks": colours.cmyk_icc()}
    return small | {
        name: corpus.save(
            corpus.photo(mode="CMYK" if name == "inks" else "RGB"), "JPEG", icc_profile=profile
        )
        for name, profile in profiles.items()
    }


def one_of_each_format() -> Mapping[str, bytes]:
    return {guard.check(data).format: data for data in pictures().values()}


def read(data: bytes) -> None:
    codec.decode(data, guard.check(data))


def cut_out(data: bytes) -> None:
    header = guard.complete(data, guard.check(data))
    matte = np.full((header.height, header.width), 200, np.uint8)
    codec.compose(data, header, matte, None, Look("#102030"), cutouts.NAMES, keeps=True)


def volumes() -> Mapping[str, bytes]:
    return {"nifti": nifti_gz(np.zeros((32, 32, 32), np.int16), (1.0, 1.0, 1.0))}


@pytest.mark.parametrize(
    ("ask", "files"),
    [(read, pictures), (cut_out, one_of_each_format), (opening.open_volume, volumes)],
)
def test_a_confined_process_imports_nothing(ask, files, monkeypatch):
    requests: list[tuple[Any, ...]] = []

    def noted(work, data, arguments, memory_bytes, allowance):
        requests.append((work, data, memory_bytes, arguments))
        module, function = work.split(":")
        memory = np.zeros(memory_bytes, np.uint8)
        return getattr(import_module(module), function)(data, memory, arguments), memory

    monkeypatch.setattr(sandbox, "run", noted)
    made = files()
    for data in made.values():
        ask(data)
    late = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LATE],
        input=pickle.dumps(dict(zip(made, requests, strict=True))),
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        check=True,
    )

    assert late.stdout.decode() == ""
