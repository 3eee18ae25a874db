"""The guard says what a file is, and refuses what no decoder should see."""

import timeit
from collections.abc import Callable

import corpus
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import BadInput
from tasks.imaging import guard

SEEDS = [
    name
    for name, file in corpus.files().items()
    if not file.is_slow_to_make and len(file.data) < 30_000
]


def refusal(data: bytes, limits: guard.Limits | None = None) -> BadInput:
    with pytest.raises(BadInput) as caught:
        guard.check(data, limits or guard.Limits())
    return caught.value


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF"])
def test_type_and_stored_size_are_read(kind):
    header = guard.check(corpus.save(corpus.photo(90, 60), kind))

    assert (header.format, header.width, header.height) == (kind.lower(), 90, 60)
    assert header.media_type == f"image/{kind.lower()}"
    assert not header.animated


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "AVIF"])
def test_animation_is_noticed(kind):
    assert guard.check(corpus.files()[f"animated.{kind.lower()}"].data).animated


def test_a_progressive_jpeg_says_how_many_scans_it_has():
    header = guard.check(corpus.save(corpus.photo(), "JPEG", progressive=True))

    assert header.progressive
    assert header.scans == 10


def test_scans_far_from_the_start_are_left_to_the_second_look():
    data, limits = corpus.files()["scans-far-behind-a-comment.jpg"].data, guard.Limits()
    header = guard.check(data, limits)

    assert header.scans == 10
    with pytest.raises(BadInput) as refused:
        guard.check_scans(data, header, limits)
    assert refused.value.code == "too_many_scans"


def test_scans_of_a_second_file_behind_the_picture_are_not_counted():
    data = corpus.files()["progressive-and-film.jpg"].data

    assert guard.check(data).scans == 10


def test_an_unknown_type_is_told_what_is_accepted():
    error = refusal(corpus.files()["picture.gif"].data)

    assert (error.status, error.code) == (415, "unsupported_type")
    assert str(error) == "GIF is not accepted; JPEG, PNG, WebP and AVIF are."
    assert "JPEG" in error.hint


def test_heic_is_told_how_to_convert():
    error = refusal(corpus.files()["heic.heic"].data)

    assert error.status == 415
    assert "Most Compatible" in error.hint


@pytest.mark.parametrize(
    ("limits", "status", "code"),
    [
        (guard.Limits(max_bytes=100), 413, "too_large"),
        (guard.Limits(max_pixels=96 * 64 - 1), 422, "too_many_pixels"),
        (guard.Limits(min_side=65), 422, "too_small"),
        (guard.Limits(max_side=95), 422, "side_too_long"),
        (guard.Limits(max_aspect=1), 422, "too_narrow"),
        (guard.Limits(max_scans=9), 422, "too_many_scans"),
        (guard.Limits(max_segments=5), 422, "too_many_segments"),
        (guard.Limits(max_metadata_bytes=10), 422, "too_much_metadata"),
    ],
)
def test_every_limit_holds_and_says_so(limits, status, code):
    error = refusal(corpus.save(corpus.photo(), "JPEG", progressive=True), limits)

    assert (error.status, error.code) == (status, code)
    assert str(error).endswith(".")
    assert error.hint


def test_every_refusal_of_the_corpus_has_a_sentence_and_a_hint():
    for name, file in corpus.files().items():
        try:
            guard.check(file.data)
        except BadInput as error:
            assert str(error).endswith("."), name
            assert error.hint and error.code, name


@pytest.mark.parametrize(
    "seed", ["plain.jpg", "progressive.jpg", "mode-RGB.png", "mode-RGB.webp", "mode-RGB.avif"]
)
def test_a_usual_file_takes_the_guard_less_than_50_microseconds(seed):
    data = corpus.files()[seed].data

    best_s = min(timeit.repeat(lambda: guard.check(data), number=20, repeat=20)) / 20

    assert best_s <= 50e-6


def test_no_file_of_the_corpus_takes_the_guard_more_than_20_milliseconds():
    """What a header claims, and what is put between its parts, must not stall a web process."""
    for name, file in corpus.files().items():
        best_s = min(timeit.repeat(lambda data=file.data: answered(data), number=1, repeat=3))
        assert best_s <= 20e-3, name


def answered(data: bytes) -> bool:
    try:
        guard.check(data)
    except BadInput:
        return False
    return True


def test_a_progressive_jpeg_of_four_inks_may_have_three_quarters_of_the_pixels():
    data = corpus.files()["progressive-inks.jpg"].data

    assert guard.check(data, guard.Limits(max_pixels=96 * 64 * 4 // 3)).channels == 4
    error = refusal(data, guard.Limits(max_pixels=96 * 64 * 4 // 3 - 2))
    assert error.code == "too_many_pixels"


def test_stripping_keeps_the_picture_and_drops_the_rest():
    data = corpus.files()["text-bomb.png"].data

    stripped = guard.strip_png(data)

    assert len(stripped) < 1000
    assert b"zTXt" not in stripped
    assert guard.check(stripped).width == 64
    assert guard.strip_png(stripped) == stripped


def test_stripping_leaves_other_files_alone():
    assert guard.strip_png(b"\xff\xd8\xff") == b"\xff\xd8\xff"


def mutated(change: Callable[[bytearray, int, bytes], None]) -> st.SearchStrategy[bytes]:
    def apply(name: str, position: int, new: bytes) -> bytes:
        data = bytearray(corpus.files()[name].data)
        change(data, position % (len(data) + 1), new)
        return bytes(data)

    place = st.integers(0, 2**20)
    return st.builds(apply, st.sampled_from(SEEDS), place, st.binary(max_size=12))


def overwrite(data: bytearray, position: int, new: bytes) -> None:
    data[position : position + len(new)] = new


def insert(data: bytearray, position: int, new: bytes) -> None:
    data[position:position] = new


def cut(data: bytearray, position: int, new: bytes) -> None:
    data[position:] = new


@settings(deadline=None, max_examples=1500)
@given(st.one_of(mutated(overwrite), mutated(insert), mutated(cut), st.binary(max_size=200)))
def test_whatever_the_bytes_the_guard_answers_or_refuses(data):
    try:
        header = guard.check(data)
    except BadInput as error:
        assert error.status in (413, 415, 422)
    else:
        assert min(header.width, header.height) >= 16
        assert header.pixels <= 50_000_000
    guard_strips_or_refuses(data)


def guard_strips_or_refuses(data: bytes) -> None:
    try:
        assert len(guard.strip_png(data)) <= len(data)
    except BadInput as error:
        assert error.status == 422
