"""Whose share of the workers a request uses."""

from dataclasses import replace

import pytest

from tasks.settings import settings
from web.fair_share import share_of
from web.middleware.identity import Identity

VISITOR = Identity("u1", "browser", "user", frozenset(), None, "192.0.2.7")
ACCOUNT = Identity("ada", "account", "user", frozenset(), "session", "192.0.2.7")


def test_a_new_identity_at_the_same_address_is_no_new_share() -> None:
    assert share_of(replace(VISITOR, user="u2")) == share_of(VISITOR)
    assert share_of(replace(VISITOR, address="192.0.2.8")) != share_of(VISITOR)


def test_behind_a_proxy_that_reports_no_address_visitors_have_shares_of_their_own() -> None:
    here = replace(VISITOR, address="127.0.0.1")

    assert share_of(replace(here, user="u2")) != share_of(here)


def test_accounts_have_their_share_wherever_they_are() -> None:
    assert share_of(replace(ACCOUNT, address="198.51.100.1")) == share_of(ACCOUNT)
    assert share_of(replace(ACCOUNT, user="bob")) != share_of(ACCOUNT)


def test_a_share_names_neither_user_nor_address() -> None:
    flows = [share_of(identity).flow for identity in (VISITOR, ACCOUNT)]

    assert not any(word in flow for flow in flows for word in ("u1", "ada", "192.0.2.7"))


def test_a_roles_weight_is_that_of_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXELMILL_ROLE_WEIGHTS", "admin=2.5")
    settings.cache_clear()

    weights = [share_of(replace(ACCOUNT, role=role)).weight for role in ("user", "admin")]

    settings.cache_clear()
    assert weights == [1.0, 2.5]
