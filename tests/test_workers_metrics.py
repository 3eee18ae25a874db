"""Where a worker says that its own numbers are."""

import pytest

from tasks.settings import settings
from workers import metrics


@pytest.mark.parametrize(
    ("bound", "announced"), [("0.0.0.0", "127.0.0.1"), ("", "127.0.0.1"), ("10.1.2.3", "10.1.2.3")]
)
def test_a_server_on_all_addresses_is_announced_by_the_one_towards_redis(
    monkeypatch: pytest.MonkeyPatch, bound: str, announced: str
) -> None:
    monkeypatch.setattr(settings(), "state_url", "redis://127.0.0.1:6379/0")

    assert metrics._reached(bound) == announced
