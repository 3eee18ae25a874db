"""Cases of tests/bench/scripts.py about a user's account, API keys, sessions, links and quotas.

The user has as much of each as one may have, or all of it is over and has to be removed.
"""

import time
from collections.abc import Iterable, Mapping

import redis
from many_jobs import do_all
from script_case import Case

from storage import (
    api_keys,
    erasure,
    gradio_sessions,
    keys,
    quota_keys,
    quotas,
    sessions,
    shares,
    sign_in_tries,
    users,
)  # fmt: skip
from storage.quota_kinds import GRAINS
from storage.quotas import NO_QUOTAS, Use
from storage.redis.calls import Call
from storage.sessions import Life, Origin
from storage.shares import Share

USER = "eve"
LIFE = Life(idle_s=3600, most_s=86_400)
ORIGIN = Origin("account", "accounts", "192.0.2.0/24", "x" * sessions.MAX_AGENT)
TTLS_OF_STORED = 3
"""Addresses of uploads, uploads and results expire after different times."""
TRIES = sign_in_tries.of_stranger(USER, "192.0.2.1")
USE = Use(USER, NO_QUOTAS, images=1, bytes=1000, stored_ttl_s=86_400)


def of_user(client: "redis.Redis", jobs: list[str], owner: str) -> Iterable[Case]:
    """`jobs` are some of `owner`, for links."""
    yield from _of_account(client)
    yield from _of_api_keys(client)
    yield from _of_sessions(client)
    yield from _of_shares(client, jobs, owner)
    yield from _of_quotas(client)
    yield Case("allow_try", lambda turn: sign_in_tries.allow(TRIES))
    yield Case("forgive_try", lambda turn: sign_in_tries.forgive(TRIES))
    most = gradio_sessions.MOST_EVENTS
    do_all(client, (gradio_sessions.add(USER, "s", f"{n}", "x" * 500) for n in range(most - 20)))
    yield Case("add_event", lambda turn: gradio_sessions.add(USER, "s", f"new-{turn}", "x" * 500))


def of_erasure(client: "redis.Redis", owner: str) -> Iterable[Case]:
    """A look at keys of which most are `owner`'s."""
    cursor = ""

    def look(turn: int) -> None:
        nonlocal cursor
        [found] = do_all(client, [erasure.find_owned({owner: True}, cursor)])
        cursor = found.next

    yield Case(
        "find_owned, a part of all keys",
        lambda turn: erasure.find_owned({owner: True}, cursor),
        look,
        erasure.LOOK,
    )


def _of_account(client: "redis.Redis") -> Iterable[Case]:
    yield Case("provision_user", lambda turn: users.provision(f"{USER}-{turn}", "oidc", "subject"))
    do_all(client, [users.provision(USER, "account")])
    yield Case("change_user", lambda turn: users.set_role(USER, "user"))


def _of_api_keys(client: "redis.Redis") -> Iterable[Case]:
    secrets = [f"pm_{number:060}" for number in range(api_keys.MOST_KEYS)]
    do_all(client, (api_keys.add(secret, USER, name="x" * 60) for secret in secrets))
    digests: Mapping[bytes, bytes] = client.hgetall(keys.user_keys(USER))

    def forget(turn: int) -> None:
        client.delete(*(keys.api_key(secret) for secret in secrets))
        client.hset(keys.user_keys(USER), mapping=digests)

    yield Case("add_api_key, again", lambda turn: api_keys.add(secrets[0], USER))
    yield Case("use_api_key", lambda turn: api_keys.look_up(secrets[1]))
    every = len(secrets)
    yield Case("list_api_keys", lambda turn: api_keys.of_user(USER), units=every)
    yield Case("revoke_api_key", lambda turn: api_keys.revoke(USER, api_keys.id_of(secrets[turn])))
    yield Case("list_api_keys, all gone", lambda turn: api_keys.of_user(USER), forget, every)


def _of_sessions(client: "redis.Redis") -> Iterable[Case]:
    def begin_all(turn: int) -> None:
        client.hdel(keys.user(USER), "epoch")
        do_all(client, (_begin_session(f"{turn}-{n}") for n in range(sessions.MOST)))

    def begin_all_and_end(turn: int) -> None:
        begin_all(turn)
        do_all(client, [users.end_sessions(USER)])

    yield Case("begin_session, one too many", lambda turn: _begin_session(f"new-{turn}"), begin_all)
    yield Case(
        "use_session",
        lambda turn: sessions.use(USER, sessions.id_of(f"{turn}-9"), mode="accounts", life=LIFE),
        begin_all,
    )
    listed = sessions.of_user(USER)
    yield Case("list_sessions", lambda turn: listed, begin_all, sessions.MOST)
    yield Case("list_sessions, all ended", lambda turn: listed, begin_all_and_end, sessions.MOST)


def _begin_session(token: str) -> Call[bool]:
    return sessions.begin(USER, token, "", ORIGIN, LIFE)


def _of_shares(client: "redis.Redis", jobs: list[str], owner: str) -> Iterable[Case]:
    expires_ms = int(time.time() * 1000) + 3_600_000

    def link(number: int) -> Share:
        name = "x" * 200
        return Share(f"{number:032x}", owner, jobs[0], "cutout", name, "image/png", expires_ms)

    def add_all(turn: int) -> None:
        do_all(client, (shares.add(link(number)) for number in range(1, shares.MOST)))

    def add_all_and_one(turn: int) -> None:
        add_all(turn)
        do_all(client, [shares.add(link(0))])

    yield Case("add_share", lambda turn: shares.add(link(shares.MOST + turn)), add_all)
    client.delete(keys.user_shares(owner))
    yield Case("list_shares", lambda turn: shares.of_user(owner), add_all_and_one, shares.MOST)
    revoked = shares.revoke(owner, job=jobs[0])
    yield Case("revoke_shares, all of a job", lambda turn: revoked, add_all_and_one, shares.MOST)


def _of_quotas(client: "redis.Redis") -> Iterable[Case]:
    parts = TTLS_OF_STORED * (GRAINS + 1)

    def store(turn: int) -> None:
        """All parts of what is stored, of which none has expired, and runs that are gone."""
        soon = int(time.time()) + 100
        client.hset(quota_keys.stored(USER), mapping={soon + n: 1000 for n in range(parts)})
        client.zadd(keys.user_runs(USER), {f"gone-{n}": n for n in range(100)})

    def store_and_expire(turn: int) -> None:
        past = int(time.time()) - 1000
        client.hset(quota_keys.stored(USER), mapping={past + n: 1000 for n in range(parts)})

    yield Case("read_quotas", lambda turn: quotas.read(USER, NO_QUOTAS), store, parts + 100)
    yield Case("use_quota", lambda turn: quotas.use(USE), store, parts + 100)
    yield Case("give_quota_back", lambda turn: quotas.give_back(USE, time.time() * 1000), store, 1)
    yield Case("use_quota, all expired", lambda turn: quotas.use(USE), store_and_expire, parts)
