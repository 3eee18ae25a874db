"""The system page: what admins see of workers, queues, limits and users, and who may see it."""

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import httpx
import pytest
from stack import API_KEY, REPOSITORY, Stack
from waiting import wait_until

from storage import api_keys, users
from storage.redis.calls import SyncRedis
from web.jobs.system import System
from web.page.system import charts, sections
from web.page.system.numbers import duration, share, size

ADMIN_KEY = "key-of-the-admin-who-looks"
PROXY = {"x-forwarded-for": "198.51.100.7"}


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Iterator[httpx.Client]:
    """An admin who is not at the machine itself."""
    link = SyncRedis(stack.state)
    link.do(users.set_password("looks-at-the-system", "a long enough password", "admin"))
    link.do(api_keys.add(ADMIN_KEY, "looks-at-the-system"))
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", **PROXY}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as client:
        yield client


def part(page: str, name: str) -> str:
    """The HTML of one part of the page."""
    [found] = re.findall(rf'data-part="{name}">(.*?)(?=data-part=|</section>)', page, re.DOTALL)
    return str(found)


def test_an_admin_sees_models_workers_limits_users_and_the_audit_log(
    stack: Stack, admin: httpx.Client
) -> None:
    photo = (REPOSITORY / "examples" / "coffee.jpg").read_bytes()
    own = {"Authorization": f"Bearer {API_KEY}"}
    for _ in range(2):
        httpx.post(
            f"{stack.url}/api/v1/predict/toy?wait=30", content=photo, headers=own, timeout=60
        )

    page = admin.get("/system").raise_for_status().text

    toy = re.search(r"Toy brightener.*?</tr>", part(page, "models"), re.DOTALL)
    assert toy and "live" in toy[0] and "inference" in toy[0] and ">0 images" not in toy[0]
    assert "cpu worker" in part(page, "workers") and "gpu worker" in part(page, "workers")
    assert "celery" in part(page, "workers")
    assert "PIXELMILL_MAX_IN_FLIGHT" in part(page, "limits")
    assert "tester" in part(page, "users")
    assert "audit.read" in part(page, "audit")


def test_looks_of_an_hour_are_one_event_of_the_audit_log(admin: httpx.Client) -> None:
    for _ in range(3):
        page = admin.get("/system").text

    rows = part(page, "audit").split("<tr>")
    assert len([row for row in rows if "looks-at-the-system" in row and "audit.read" in row]) <= 1


def test_at_the_machine_itself_visitors_of_open_mode_see_the_work_but_no_users(
    stack: Stack,
) -> None:
    page = httpx.get(f"{stack.url}/system").raise_for_status().text

    assert "gpu worker" in page
    assert 'data-part="users"' not in page and 'data-part="audit"' not in page


def test_others_are_asked_to_sign_in_or_refused(stack: Stack) -> None:
    visitor = httpx.get(f"{stack.url}/system", headers=PROXY)
    user = httpx.get(f"{stack.url}/system", headers={"Authorization": f"Bearer {API_KEY}", **PROXY})

    assert (visitor.status_code, visitor.headers["location"]) == (303, "/login")
    assert user.status_code == 403 and "for admins only" in user.text


def test_failures_that_are_counted_by_version_too_are_listed_once() -> None:
    totals = {"matting": {"failed:bad_image": 2, "failed:bad_image@0a-1b": 2}}
    system = cast(System, SimpleNamespace(stats=SimpleNamespace(totals=totals)))

    listed = sections.failures(system)

    assert "<code>bad_image</code>" in listed
    assert "@" not in listed


def test_columns_are_as_high_as_their_values_and_stand_on_each_other() -> None:
    drawn = charts.columns([("computed", [1, 2]), ("failed", [0, 2])], "two", height=40)

    found = re.findall(
        r'class="(\w+)" x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="(\d+)', drawn
    )
    assert found == [
        ("computed", "1.0", "30.0", "10"),
        ("computed", "301.0", "20.0", "20"),
        ("failed", "301.0", "0.0", "20"),
    ]


def test_numbers_are_written_for_people() -> None:
    assert [size(n) for n in (0, 1536, 3 * 2**20, 5 * 2**30)] == [
        "0 B", "1.5 KiB", "3.0 MiB", "5.0 GiB",
    ]  # fmt: skip
    assert [duration(ms) for ms in (0.4, 12, 3400, 300_000)] == [
        "0.4 ms",
        "12 ms",
        "3.4 s",
        "5 min",
    ]
    assert (share(1, 3), share(1, 0)) == ("33 %", "–")


def test_an_admin_sees_the_pilot_pauses_it_and_reads_its_log_by_the_api(
    stack: Stack, admin: httpx.Client
) -> None:
    own = {"Authorization": f"Bearer {API_KEY}", **PROXY}
    wait_until(lambda: re.search(r"wanted:</small> \d", part(admin.get("/system").text, "pilot")))
    assert "Pause the pilot" in admin.get("/system").text

    form = {"content-type": "application/x-www-form-urlencoded"}
    paused = admin.post("/system/pilot/pause", headers=form)
    pinned = admin.post("/system/pilot/pin", data={"model": "toy", "workers": "2"})
    assert (paused.status_code, pinned.status_code) == (303, 303)
    assert "it changes nothing" in admin.get("/system").text
    assert admin.get("/api/v1/pilot").json()["paused"] is True
    assert admin.get("/api/v1/pilot").json()["models"]["toy"]["order"]["pins"]["workers"] == 2

    admin.post("/system/pilot/pin", data={"model": "toy"})
    admin.post("/system/pilot/resume", headers=form)
    decisions = admin.get("/api/v1/pilot/log").json()["decisions"]
    asked = [of["rule"] for of in decisions if of["by"] == "looks-at-the-system"]
    assert asked == ["resume", "pin", "pin", "pause"]
    assert httpx.get(f"{stack.url}/api/v1/pilot", headers=own).status_code == 403
    assert httpx.post(f"{stack.url}/system/pilot/pause", headers=own | form).status_code == 403
