"""Forms and JSON with a photo in them, taken apart in whatever pieces they arrive."""

import base64
import json
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from tasks.errors import BadInput
from tasks.settings import MIB
from web.__main__ import give_large_blocks_back
from web.api.form_reader import FormReader
from web.api.json_reader import JsonReader
from web.api.received import RawReader, Reader, Received

BOUNDARY = b"boundary1"
FORM_TYPE = b"multipart/form-data; boundary=" + BOUNDARY
LIMIT = 25 * MIB
SIZES = (1, 7, 13, 65_536)
"""Bytes of a piece."""
PICTURE = b"\x89PNG\r\n\x1a\n" + random.Random(7).randbytes(5_000) + b"\r\n--boundary\r\n--"
TEXT = base64.b64encode(PICTURE)


def form_reader() -> FormReader:
    return FormReader(FORM_TYPE, LIMIT)


def json_reader() -> JsonReader:
    return JsonReader(LIMIT)


def form(*parts: tuple[str, bytes]) -> bytes:
    """Each part: its Content-Disposition (and further headers), and its body."""
    heads = [b"Content-Disposition: form-data; " + head.encode() for head, _ in parts]
    bodies = [body for _, body in parts]
    filled = [
        b"--%b\r\n%b\r\n\r\n%b\r\n" % (BOUNDARY, head, body)
        for head, body in zip(heads, bodies, strict=True)
    ]
    return b"".join([*filled, b"--" + BOUNDARY + b"--\r\n"])


def read(reader: Reader, body: bytes, size: int = 65_536) -> Received:
    for start in range(0, len(body), size):
        reader.write(body[start : start + size])
    return reader.end()


def refusal(reader: Callable[[], Reader], body: bytes) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read(reader(), body, 1000)
    return caught.value


@pytest.mark.parametrize("size", SIZES)
def test_a_form_may_come_in_any_pieces(size: int) -> None:
    body = form(
        ('name="gain"', b"2.5"),
        ('name="whatever"; filename="ph\u00f6to.png"\r\nContent-Type: image/png', PICTURE),
        ('name="params"', b'{"top": 3}'),
    )

    received = read(form_reader(), body, size)

    assert received.picture == PICTURE and received.filename == "ph\u00f6to.png"
    assert received.fields == {"gain": "2.5", "top": 3}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", [TEXT, b"data:image/png;base64," + TEXT, PICTURE])
def test_a_text_field_named_image_holds_base64_or_the_picture_itself(
    size: int, text: bytes
) -> None:
    assert read(form_reader(), form(('name="image"', text)), size).picture == PICTURE


@pytest.mark.parametrize(
    "head",
    ['name="a"\r\nContent-Type: image/jpeg', 'name="a"\r\ncontent-type: application/octet-stream',
     'name="a"; filename*=UTF-8\'\'ph%C3%B6to.png', "name=a; filename=photo"],
)  # fmt: skip
def test_a_part_is_a_file_by_its_type_or_by_any_way_to_name_it(head: str) -> None:
    assert read(form_reader(), form((head, PICTURE))).picture == PICTURE


def test_a_part_may_be_base64_by_its_transfer_encoding() -> None:
    head = 'name="a"; filename="a"\r\nContent-Transfer-Encoding: BASE64'

    assert read(form_reader(), form((head, base64.encodebytes(PICTURE))), 100).picture == PICTURE


def test_a_file_field_that_was_left_empty_is_no_second_file() -> None:
    body = form(('name="a"; filename="p.png"', PICTURE), ('name="b"; filename=""', b""))

    assert read(form_reader(), body).picture == PICTURE


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "text",
    [TEXT.decode(), TEXT.decode().rstrip("="), "data:image/png;base64," + TEXT.decode(),
     base64.encodebytes(PICTURE).decode(), base64.urlsafe_b64encode(PICTURE).decode()],
    ids=["plain", "unpadded", "data URL", "lines", "URL-safe"],
)  # fmt: skip
def test_json_may_come_in_any_pieces(size: int, text: str) -> None:
    value = {"gain": 2, "list": ["x", {"image": "no"}, 'q"]}\\'], "image": text, "params": {"n": 3}}
    escapes = (
        lambda dumped: dumped,
        lambda dumped: dumped.replace("/", "\\/"),
        lambda dumped: dumped.replace("+", "\\u002B").replace("=", "\\u003d"),
    )

    for escaped in escapes:
        received = read(json_reader(), escaped(json.dumps(value)).encode(), size)

        assert received.picture == PICTURE
        assert received.fields == {"gain": 2, "list": value["list"], "n": 3}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (form(('name="gain"', b"2")), "no_picture"),
        (form(('name="image"', b"photo.jpg")), "no_picture"),
        (form(('name="a"; filename="a"', b"1"), ('name="b"; filename="b"', b"2")),
         "several_pictures"),
        (form(('name="a"; filename="a"', PICTURE))[:-6], "bad_form"),
        (form(('name="a"; filename="a"\r\nContent-Transfer-Encoding: x-zip', b"1")), "bad_form"),
        (form(('name="gain"', b"\xff")), "bad_form"),
        (form(('name="gain"', b"\x00")), "bad_form"),
        (form(*[('name="a"', b"1")] * 101), "bad_request"),
        (form(('name="a"', b"1" * 70_000)), "bad_request"),
        (form(("name=" + "a" * 10_000, b"1")), "bad_form"),
        (form(('name="a"; filename="a"', b"\r\n--boundary1x" * 300)), "bad_request"),
        (b"no form", "bad_form"),
        (b"", "bad_form"),
    ],
)  # fmt: skip
def test_a_broken_form_is_refused_with_a_sentence(body: bytes, code: str) -> None:
    error = refusal(form_reader, body)

    assert error.code == code and len(str(error)) > 20 and error.hint


@pytest.mark.parametrize(
    ("reader", "body", "why"),
    [
        (form_reader, form(('name="a"; filename="a"', PICTURE)).replace(BOUNDARY, b"b2"),
         "does not begin with the boundary"),
        (form_reader, form(('name="a"; filename="a"', b"1"), ('name="params"', b"{top: 3}")),
         "`params`: the body is not acceptable JSON"),
        (json_reader, PICTURE, "is a picture, and no JSON"),
        (json_reader, b'{"image": "' + TEXT, "ends within its picture"),
        (json_reader, b'{"a": "b', "Unterminated string starting at character"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(reader: Callable[[], Reader], body: bytes, why: str) -> None:
    assert why in str(refusal(reader, body))


@pytest.mark.parametrize("size", SIZES)
def test_json_may_begin_with_the_mark_of_utf8(size: int) -> None:
    body = b'\xef\xbb\xbf{"image": "' + TEXT + b'"}'

    assert read(json_reader(), body, size).picture == PICTURE


def test_a_form_without_a_boundary_says_what_sets_it() -> None:
    with pytest.raises(BadInput, match="boundary") as caught:
        FormReader(b"multipart/form-data", LIMIT)

    assert "Do not set the header" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"image": "aaa!"}', "bad_base64"),
        (b'{"image": "QUJD=A"}', "bad_base64"),
        (b'{"image": "A"}', "bad_base64"),
        (b'{"image": "QU\\"JD"}', "bad_base64"),
        (b'{"image": "data:image/svg+xml,<svg>"}', "bad_base64"),
        (b'{"image": "QUJD"', "bad_request"),
        (b'{"image": "QUJD', "bad_request"),
        (b'{"image": "QUJD"} x', "bad_request"),
        (b'{"image": "QUJD", "a": "\xff"}', "bad_request"),
        (b'{"image": "QUJD", "a": NaN}', "bad_request"),
        (b'{"image": "QUJD", "params": 3}', "bad_params"),
        (b'{"gain": 2}', "no_picture"),
        (b'{"image": null}', "no_picture"),
        (b'{"image": 5}', "no_picture"),
        (b"[]", "no_picture"),
        (b'{"image": ["QUJD", "QUJD"]}', "several_pictures"),
        (b'{"image": "QUJD", "file": "QUJD"}', "several_pictures"),
        (b'{"image": "QUJD", "image": "QUJD"}', "several_pictures"),
        (b'{"a": "' + b"a" * 70_000 + b'"}', "bad_request"),
        (b"[" * 70_000, "bad_request"),
        (b"", "bad_request"),
    ],
)  # fmt: skip
def test_broken_json_is_refused_with_a_sentence(body: bytes, code: str) -> None:
    error = refusal(json_reader, body)

    assert error.code == code and len(str(error)) > 20 and error.hint


def test_bytes_are_counted_and_not_the_characters_of_base64() -> None:
    def reader() -> JsonReader:
        return JsonReader(900)

    fits, too_much = (
        json.dumps({"image": base64.b64encode(bytes(size)).decode()}).encode()
        for size in (900, 901)
    )

    assert read(reader(), fits).picture == bytes(900)
    assert (refusal(reader, too_much).code, refusal(reader, too_much).status) == ("too_large", 413)


BIG = {
    "bytes": (lambda: RawReader(LIMIT), bytes(24 * MIB)),
    "form": (form_reader, form(('name="a"; filename="a"', bytes(24 * MIB)))),
    "form full of line breaks": (form_reader, form(('name="a"; filename="a"', b"\r" * 24 * MIB))),
    "form of half delimiters": (
        form_reader, form(('name="a"; filename="a"', b"\r\n--boundary" * (2 * MIB)))),
    "JSON": (json_reader, b'{"image": "%b"}' % base64.b64encode(bytes(24 * MIB))),
    "JSON in lines": (json_reader, json.dumps(
        {"image": base64.encodebytes(bytes(20 * MIB)).decode()}).encode()),
}  # fmt: skip


@pytest.fixture(scope="module")
def fresh_process() -> Iterator[ProcessPoolExecutor]:
    """One with the allocator of a web process, and without the holes that other tests have left."""
    context = get_context("spawn")
    with ProcessPoolExecutor(1, context, initializer=give_large_blocks_back) as process:
        yield process


def longest_s(kind: str) -> float:
    """CPU seconds of the dearest piece. The best of a few bodies: others use this core too."""
    make, body = BIG[kind]
    return min(_longest_s(make(), body) for _ in range(4))


def _longest_s(reader: Reader, body: bytes) -> float:
    most_s = 0.0
    for start in range(0, len(body), 65_536):
        piece = body[start : start + 65_536]
        before_s = time.thread_time()
        reader.write(piece)
        most_s = max(most_s, time.thread_time() - before_s)
    before_s = time.thread_time()
    received = reader.end()
    most_s = max(most_s, time.thread_time() - before_s)
    assert len(received.picture) >= 20 * MIB
    return most_s


@pytest.mark.measures_time
@pytest.mark.parametrize("kind", BIG)
def test_no_piece_of_a_large_body_stops_the_process_for_long(
    fresh_process: ProcessPoolExecutor, kind: str
) -> None:
    assert fresh_process.submit(longest_s, kind).result() < 0.005


def test_tiny_pieces_use_no_more_memory_than_they_hold() -> None:
    reader = RawReader(LIMIT)
    tracemalloc.start()
    for _ in range(200_000):
        reader.write(b"12345")
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert used < 1.2 * 1_000_000


def test_there_is_one_copy_of_the_picture_and_none_of_its_text() -> None:
    reader = json_reader()
    head, text, tail = b'{"image": "', base64.b64encode(bytes(48 * 1024)), b'"}'
    tracemalloc.start()
    reader.write(head)
    for _ in range(256):
        reader.write(text)
    reader.write(tail)
    arrived = tracemalloc.get_traced_memory()[1]
    picture = reader.end().picture
    left = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert len(picture) == 12 * MIB
    # A buffer grows by an eighth at a time. What it has not used yet is an address and no memory.
    assert arrived < 1.125 * len(picture) + 4 * len(text) and left < 1.01 * len(picture)
