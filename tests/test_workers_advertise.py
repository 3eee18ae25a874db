"""The address at which other hosts find a worker's metrics."""

from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

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


def test_an_ipv6_address_is_listened_on_without_the_brackets_that_it_is_written_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def start_http_server(port: int, address: str) -> tuple[Any, Any]:
        asked.append((address, port))
        return SimpleNamespace(server_port=9101), SimpleNamespace()

    monkeypatch.setattr(metrics, "start_http_server", start_http_server)
    monkeypatch.setattr(metrics, "REGISTRY", CollectorRegistry())

    assert metrics.serve("[::1]:0", []) == "[::1]:9101"
    assert asked == [("::1", 0)]
