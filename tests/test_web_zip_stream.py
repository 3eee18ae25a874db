"""Archives that are written as streams, read by Python's zipfile."""

import io
import tracemalloc
import zipfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from web.zip_stream import ZipStream

MADE = datetime(2026, 11, 29, 17, 0, 2)
names = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\:"), min_size=1, max_size=9
)


def archive(files: Mapping[str, list[bytes]], level: int = 0) -> bytes:
    stream, parts = ZipStream(MADE), []
    for name, content in files.items():
        parts += [stream.start(name, level), *map(stream.data, content), stream.end()]
    parts += stream.finish()
    stream.close()
    return b"".join(parts)


@given(
    st.dictionaries(names, st.lists(st.binary(max_size=200), max_size=4)), st.sampled_from([0, 1])
)
def test_what_was_put_in_comes_out(files: dict[str, list[bytes]], level: int) -> None:
    with zipfile.ZipFile(io.BytesIO(archive(files, level))) as read:
        assert read.testzip() is None
        assert {info.filename: read.read(info) for info in read.infolist()} == {
            name: b"".join(content) for name, content in files.items()
        }


def test_files_have_the_date_and_may_be_read_by_their_owner() -> None:
    with zipfile.ZipFile(io.BytesIO(archive({"a.txt": [b"a"]}))) as read:
        [info] = read.infolist()

    assert info.date_time == (2026, 11, 29, 17, 0, 2)
    assert info.external_attr >> 16 == 0o100644


def test_an_archive_may_have_more_files_than_the_old_format_counts() -> None:
    files = {f"{number}": [b""] for number in range(70_000)}

    with zipfile.ZipFile(io.BytesIO(archive(files))) as read:
        assert len(read.infolist()) == 70_000


def test_an_archive_may_be_longer_than_four_gigabytes(tmp_path: Path) -> None:
    before, stream = 2**32 + 5, ZipStream(MADE, offset=2**32 + 5)
    with open(tmp_path / "long.zip", "wb") as file:
        file.seek(before)  # a hole, as if there had been other files
        file.write(stream.start("last") + stream.data(b"here") + stream.end())
        file.writelines(stream.finish())
    stream.close()

    with zipfile.ZipFile(tmp_path / "long.zip") as read:
        assert read.getinfo("last").header_offset == before
        assert read.read("last") == b"here"


def test_memory_does_not_grow_with_the_archive() -> None:
    stream, part = ZipStream(MADE), bytes(100_000)
    tracemalloc.start()
    for number in range(30_000):
        stream.start(f"results/{number:064}/0000000000-00000000/cutout.webp")
        if number % 100 == 0:
            stream.data(part)
        stream.end()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    stream.close()

    assert peak < 4 * 2**20
