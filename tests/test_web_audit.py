"""The audit log as admins read it, what is in it, and how long it is kept."""

import json
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import redis
from stack import Stack

from storage import api_keys, audit, keys
from storage.audit import COMMAND_LINE, Nobody
from storage.redis.calls import AsyncRedis, SyncRedis
from tasks.settings import settings
from web.audit import AuditLog, Filter
from web.limits import STATE_LIMIT_S
from web.maintenance import audit_trim

pytest_plugins = ["inprocess"]


@pytest.fixture
async def async_link(in_process: None, state_url: str) -> AsyncIterator[AsyncRedis]:
    made = AsyncRedis(state_url, limit_s=STATE_LIMIT_S)
    yield made
    await made.close()


def fill(link: SyncRedis, number: int, action: str = "key.add") -> None:
    for _ in range(number):
        link.do(audit.record(action, COMMAND_LINE, "t", "ok"))


async def test_pages_have_every_event_that_the_filter_lets_pass_once(
    async_link: AsyncRedis, link: SyncRedis
) -> None:
    log = AuditLog(async_link)
    for _ in range(3):
        fill(link, 4)
        fill(link, 300, "job.delete")

    first, before = await log.page(Filter(action="key"), "", 7)
    second, end = await log.page(Filter(action="key"), before, 7)

    assert (len(first), len(second), end) == (7, 5, "")
    assert len({event.id for event in [*first, *second]}) == 12
    assert {event.action for event in first} == {"key.add"}


@pytest.mark.parametrize(
    ("user", "kind", "stream"),
    [
        ("ada", "account", keys.AUDIT),
        ("", "cli", keys.AUDIT),
        ("u" + "0" * 24, "browser", keys.AUDIT_OF_STRANGERS),
        ("u" + "0" * 24, "key", keys.AUDIT_OF_STRANGERS),
        ("", "account", keys.AUDIT_OF_STRANGERS),  # a wrong password
    ],
)
async def test_what_anybody_can_cause_is_kept_apart(
    async_link: AsyncRedis, state: "redis.Redis", user: str, kind: str, stream: str
) -> None:
    await AuditLog(async_link).record("key.add", Nobody(kind, user), "t")

    assert [name for name in audit.STREAMS if state.exists(name)] == [stream]


async def test_everything_is_read_oldest_first(async_link: AsyncRedis, link: SyncRedis) -> None:
    fill(link, 600)

    pages = [page async for page in AuditLog(async_link).everything(Filter())]

    ids = [tuple(map(int, event.id.split("-"))) for page in pages for event in page]
    assert len(ids) == 600 and ids == sorted(ids)


async def test_an_action_is_named_whole_or_by_its_kind(
    async_link: AsyncRedis, link: SyncRedis
) -> None:
    fill(link, 1, "keyboard.add")
    fill(link, 1, "key.add")

    for action, found in (("key", 1), ("key.add", 1), ("key.a", 0), ("", 2)):
        events, _ = await AuditLog(async_link).page(Filter(action=action), "", 10)
        assert len(events) == found


async def test_events_that_are_too_old_are_removed(
    async_link: AsyncRedis, link: SyncRedis, state: "redis.Redis"
) -> None:
    now_s = time.time()
    too_old_ms = int((now_s - settings().audit_days * 86_400 - 60) * 1000)
    for number in range(350):
        state.xadd(keys.AUDIT, {"action": "old"}, id=f"{too_old_ms}-{number}")
    fill(link, 5)

    assert await audit_trim.trim(async_link, now_s) == 350
    assert state.xlen(keys.AUDIT) == 5


async def test_an_event_that_cannot_be_recorded_stops_nothing(unused_tcp_port: int) -> None:
    nobody = AsyncRedis(f"redis://127.0.0.1:{unused_tcp_port}/0", limit_s=0.5)

    await AuditLog(nobody).record("key.add", COMMAND_LINE, "t")


@pytest.fixture
def visitor(stack: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=stack.url, timeout=60) as client:
        yield client


@pytest.fixture
def admin(stack: Stack) -> Iterator[httpx.Client]:
    """Somebody whose key is that of an admin."""
    link, key = SyncRedis(stack.state), "key-of-an-admin-who-reads-the-audit-log"
    stack.state.hset(keys.user("auditor"), mapping={"role": "admin", "password": "none"})
    link.do(api_keys.add(key, "auditor"))
    headers = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as client:
        yield client


def test_what_a_visitor_did_is_shown_to_admins_alone(
    visitor: httpx.Client, admin: httpx.Client
) -> None:
    photo = httpx.get(f"{visitor.base_url}/examples/chelsea.jpg").content
    job = visitor.post("/api/v1/predict/toy?wait=60", content=photo).json()
    visitor.delete(f"/api/v1/jobs/{job['id']}").raise_for_status()

    refused = visitor.get("/api/v1/audit")
    page = admin.get("/api/v1/audit?limit=3").raise_for_status().json()
    lines = admin.get("/api/v1/audit/export?action=job").raise_for_status().text.splitlines()

    assert refused.status_code == 403 and refused.json()["error"]["code"] == "not_allowed"
    assert [(event["action"], event["outcome"]) for event in page["events"]] == [
        ("audit.read", "ok"), ("audit.read", "not_allowed"), ("job.delete", "ok"),
    ]  # fmt: skip
    deleted = page["events"][2]
    assert (deleted["target"], deleted["network"]) == (job["id"], "127.0.0.0/24")
    assert json.loads(lines[-1]) == deleted


@pytest.mark.parametrize("query", ["limit=0", "limit=251", "cursor=x", "since=never"])
def test_a_wrong_question_is_told_so(admin: httpx.Client, query: str) -> None:
    answer = admin.get(f"/api/v1/audit?{query}")

    assert answer.status_code == 422 and answer.json()["error"]["code"] == "bad_request"
