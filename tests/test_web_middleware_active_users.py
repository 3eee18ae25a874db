"""Users are counted while they come, and forgotten when they stay away."""

from collections.abc import Iterator
from typing import Any

import pytest

from web.middleware import active_users
from web.middleware.active_users import WINDOW_S, ActiveUsers


def test_a_user_counts_once_and_until_they_have_stayed_away_for_the_window() -> None:
    now_s = [1000.0]
    users = ActiveUsers(lambda: now_s[0])
    for user in ("ada", "bob", "ada"):
        users.note(user)
    now_s[0] += WINDOW_S - 1
    users.note("ada")

    assert users.count() == 2
    now_s[0] += 1
    assert users.count() == 1


def test_memory_for_users_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_users, "MOST", 3)
    users = ActiveUsers()

    for number in range(9):
        users.note(f"user-{number}")

    assert users.count() == 3


class Counted(dict[int, float]):
    """Counts the entries that somebody goes through."""

    looked_at = 0

    def items(self) -> Iterator[tuple[int, float]]:  # type: ignore[override]  # enough for a loop
        for item in super().items():
            self.looked_at += 1
            yield item


def test_a_crowd_of_new_users_is_not_gone_through_for_each_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(active_users, "MOST", 100)
    users: Any = ActiveUsers()
    users._seen = seen = Counted()

    for number in range(110):
        users.note(f"user-{number}")

    assert seen.looked_at <= 10
