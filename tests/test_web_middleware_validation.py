"""Forms of text from outside: what passes, what is refused, and how a refusal repeats it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import BadInput
from tasks.log import printable
from web.middleware import validation
from web.middleware.validation import check_head, check_json
from web.text import sentence, shown

HOST = (b"host", b"localhost")


def status(path: bytes = b"/", query: bytes = b"", *headers: tuple[bytes, bytes]) -> int:
    """What the check answers; 0 where it lets the request pass."""
    try:
        check_head(path, query, [HOST, *headers])
    except BadInput as error:
        return error.status
    return 0


@pytest.mark.parametrize(
    "path",
    [b"/", b"/ui/", b"/api/v1/jobs/0a", b"/static/a.b.js", b"/pixelmill/in/u1/ab%2Bc",
     "/api/v1/jobs/é".encode(), b"/x/%C3%A9", b"/%2541", b"/.well-known/x"],
)  # fmt: skip
def test_paths_that_pass(path: bytes) -> None:
    assert status(path) == 0


@pytest.mark.parametrize(
    "path",
    [b"/a/../b", b"/a/%2e%2e/b", b"/a/%2E./b", b"/./a", b"/a/..", b"//a", b"/a//b", b"/a%2F%2Fb",
     b"/a%2f..%2fb", b"/a\\b", b"/a%5Cb", b"/%00", b"/a%0Ab", b"/%C2%85", b"/%ff", b"/%ed%a0%80",
     b"/%c0%ae", b"", b"a", b"*"],
)  # fmt: skip
def test_paths_that_are_refused(path: bytes) -> None:
    assert status(path) == 400


def test_lengths_are_limited() -> None:
    assert status(b"/" + b"a" * 1023) == 0
    assert status(b"/" + b"a" * 1024) == 414
    assert status(b"/", b"a" * 8193) == 414
    assert status(b"/", b"&".join([b"a=1"] * 101)) == 400
    assert status(b"/", b"", (b"user-agent", b"a" * 40_000)) == 431
    assert status(b"/", b"", *[(b"x-%d" % n, b"1") for n in range(100)]) == 431


@pytest.mark.parametrize("query", [b"a=1&b=%C3%A9", b"a=b+c", b"text=two%0Alines", b"a=%zz"])
def test_queries_that_pass(query: bytes) -> None:
    assert status(b"/", query) == 0


@pytest.mark.parametrize("query", [b"a=%00", b"a=%ff", b"a=%1b[31m", b"a=\xc3\xa9", b"%ed%b0%80=1"])
def test_queries_that_are_refused(query: bytes) -> None:
    assert status(b"/", query) == 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"content-length", b"-1"), (b"content-length", b"abc"), (b"content-length", b"1_0"),
        (b"content-type", b"nonsense"),
        (b"idempotency-key", b"a" * 201), (b"idempotency-key", b"\xff"), (b"idempotency-key", b""),
        (b"last-event-id", b"a" * 65), (b"range", b"\x80"), (b"origin", b"http://a b"),
        (b"user-agent", b"\xff\xfe"), (b"x-other", b"a\x1b[31m"), (b"x-other", b"a\nb: c"),
        (b"x\xff", b"1"), (b"x-forwarded-host", b"a/b"),
    ],
)  # fmt: skip
def test_headers_that_are_refused(name: bytes, value: bytes) -> None:
    assert status(b"/", b"", (name, value)) == 400


@pytest.mark.parametrize("value", ["Bearer é".encode(), b"Bearer \xff", b"Bearer \x07", b""])
def test_a_malformed_key_opens_nothing_like_any_wrong_one(value: bytes) -> None:
    assert status(b"/", b"", (b"authorization", value)) == 401


@pytest.mark.parametrize(
    "host",
    [b"", b"a b", b"a/b", b"a@b", b"host:abc", b"host:", b"[::1", b"::1", b"a\x00", b"a,b", b"?"],
)
def test_hosts_that_are_refused(host: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        check_head(b"/", b"", [(b"host", host)])

    assert caught.value.status == 400


def test_what_is_read_comes_once() -> None:
    assert status(b"/", b"", HOST) == 400
    assert status(b"/", b"", (b"content-length", b"1"), (b"content-length", b"1")) == 400
    assert status(b"/", b"", (b"accept", b"a"), (b"accept", b"b")) == 0


def test_cookies_of_others_may_hold_anything() -> None:
    assert status(b"/", b"", (b"cookie", b"other=\xff\xfe\x01")) == 0


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"nul", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e999}', b"[1e400]",
        b'{"a": 1, "a": 2}', b'{"a": {"b": 1, "b": 1}}', b'{"a": "\\ud800"}', b'{"\\udfff": 1}',
        b'{"a": "\\u0000"}', b'{"a": "\\u001b[31m"}', b'{"a": "\x00"}', b'"\xff"',
        b'{"a": 123456789012345678901234567890}', b"9" * 5000, b"-9223372036854775809",
        b"[" * 17 + b"]" * 17, b"[" * 100_000, b'{"a":' * 50_000, b'"' + b"a" * 8193 + b'"',
        json.dumps(list(range(10_001))).encode(), '"ä"'.encode("utf-16"), b"\xef\xbb\xbf{}",
    ],
    ids=lambda body: repr(body[:24]),
)  # fmt: skip
def test_json_that_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput) as caught:
        check_json(body)

    assert (caught.value.status, caught.value.code) == (422, "bad_request")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "value",
    [{}, [], None, {"a": "é😀\n"}, {"a": 1.5e300}, {"a": 2**63 - 1}, [[[[[[[[1]]]]]]]], {"a": "\\"},
     "x" * 8192, {"sha256": "9" * 64}],
)  # fmt: skip
def test_json_that_passes_is_read_as_everybody_reads_it(value: Any) -> None:
    assert check_json(json.dumps(value).encode()) == value
    assert check_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), 
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside), max_leaves=20,
))  # fmt: skip
def test_whatever_passes_can_be_written_as_utf8(value: Any) -> None:
    try:
        passed = check_json(json.dumps(value).encode())
    except BadInput:
        return
    text = json.dumps(passed, ensure_ascii=False, allow_nan=False)
    assert "\x00" not in text and text.encode("utf-8")


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_are_judged_and_never_break_the_check(
    path: bytes, query: bytes, value: bytes
) -> None:
    for name in [*validation.HEADER_PATTERNS, b"cookie", b"x-other"]:
        assert status(b"/" + path, query, (name, value)) in (0, 400, 401, 414, 431)


@given(st.text(max_size=400))
def test_what_a_message_repeats_is_short_and_does_nothing(text: str) -> None:
    text += "\x1b[31m\r\n\ud800\u202e"
    for said in (shown(text), sentence(text), printable(text)):
        assert said.isprintable() and said.encode()
    assert len(shown("\ud800" * 1000)) < 600 and len(shown("a" * 1000)) < 90
