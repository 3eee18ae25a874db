"""The identity cookie: who it names, until when, and what is refused."""

import time

import pytest

from tasks.settings import settings
from web.middleware.cookies import COOKIE_S, signed, user_of_cookie

USER = "u0123456789abcdef01234567"


def test_a_cookie_names_its_user_and_when_it_was_issued() -> None:
    user, issued = user_of_cookie(signed(USER)) or ("", 0)

    assert user == USER
    assert time.time() - issued < 2


def test_a_cookie_that_is_too_old_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    cookie, now_s = signed(USER), time.time()
    assert user_of_cookie(cookie)

    monkeypatch.setattr(time, "time", lambda: now_s + COOKIE_S + 1)

    assert user_of_cookie(cookie) is None


def test_a_cookie_of_a_host_whose_clock_is_ahead_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cookie, now_s = signed(USER), time.time()

    monkeypatch.setattr(time, "time", lambda: now_s - 60)

    assert user_of_cookie(cookie)


@pytest.mark.parametrize(
    "value", ["", ".", "..", USER, f"{USER}.1", f"{USER}.1.2", "é.1.2", "a" * 500]
)
def test_text_without_our_signature_names_nobody(value: str) -> None:
    assert user_of_cookie(value) is None


def test_a_cookie_with_any_part_changed_names_nobody() -> None:
    user, issued, signature = signed(USER).split(".")
    other = "A" if signature[0] != "A" else "B"

    for changed in (
        f"u{'0' * 24}.{issued}.{signature}",
        f"{user}.{issued[:-1]}{'A' if issued[-1] != 'A' else 'B'}.{signature}",
        f"{user}.{issued}.{other}{signature[1:]}",
        f"{user}.{issued}.",
    ):
        assert user_of_cookie(changed) is None, changed


def test_a_cookie_of_open_mode_names_nobody_where_people_sign_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cookie = signed(USER)
    assert user_of_cookie(cookie)

    monkeypatch.setattr(settings(), "auth", "accounts")

    assert user_of_cookie(cookie) is None
