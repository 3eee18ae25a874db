"""The address at which other hosts find a worker's metrics."""

import pytest

from tasks.settings import read
from workers import metrics


@pytest.mark.parametrize(
    ("host", "given", "announced"),
    [
        ("0.0.0.0", {"state_url": "redis://127.0.0.1:6379/0"}, "127.0.0.1"),
        ("[::]", {"state_url": "redis://[::1]:6379/0"}, "[::1]"),
        ("192.0.2.4", {}, "192.0.2.4"),
        ("0.0.0.0", {"advertise_host": "gpu1.example.com"}, "gpu1.example.com"),
    ],
)
def test_others_are_told_an_address_that_they_can_reach(
    monkeypatch: pytest.MonkeyPatch, host: str, given: dict[str, str], announced: str
) -> None:
    monkeypatch.setattr(metrics, "settings", lambda: read(None, **given))

    assert metrics.announced_host(host) == announced
