"""Sign-in where there are accounts: guesses, sessions in two web processes, the account's page."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from stack import Stack

from storage import api_keys, audit, sign_in_tries, users
from storage.redis.calls import NUMBER, AsyncRedis, Call, SyncRedis, command
from storage.redis.durable import DurableRedis
from web.audit import AuditLog
from web.sign_in import MOST_STRANGERS, Client, SignIn, TooBusy, WrongPassword

pytest_plugins = ["inprocess"]

PASSWORD = "correct horse battery"
SEEN_WITHIN_S = 5.0


def cookies_of(answer: httpx.Response) -> str:
    """The cookies that an answer sets, as a browser sends them back."""
    return "; ".join(value.split(";")[0] for value in answer.headers.get_list("set-cookie"))


class Mill:
    """Two web processes of one installation where people sign in."""

    def __init__(self, stack: Stack, urls: tuple[str, str]) -> None:
        self.stack, (self.url, self.other) = stack, urls
        self.link = SyncRedis(stack.state)
        self.browsers: list[httpx.Client] = []

    def add(self, name: str, **kind: str) -> str:
        self.link.do(users.set_password(name, PASSWORD, **{"role": "user", **kind}))  # type: ignore[arg-type]
        return name

    def sign_in(
        self, name: str, password: str = PASSWORD, *, address: str = "", url: str = ""
    ) -> httpx.Response:
        headers = {"X-Forwarded-For": address} if address else {}
        data = {"user": name, "password": password}
        return httpx.post(f"{url or self.url}/login", data=data, headers=headers, timeout=60)

    def guess(self, name: str) -> None:
        """As if strangers had tried passwords of this account for a quarter of an hour."""
        counted = sign_in_tries.of_stranger(name, "192.0.2.1")
        for _ in range(sign_in_tries.FREE_OF_ACCOUNT + 10):
            assert self.link.do(sign_in_tries.allow(counted)) == 0
            for key in counted.names:
                self.stack.state.hset(key, "next", 0)  # the wait is over
        self.stack.state.hset(counted.names[0], "next", (time.time() + 600) * 1000)

    def browser(self, name: str) -> httpx.Client:
        """A browser on which this user has just signed in."""
        answer = self.sign_in(name)
        assert answer.status_code == 303, answer.text
        headers = {"cookie": cookies_of(answer), "user-agent": "Firefox of the tests"}
        self.browsers.append(httpx.Client(base_url=self.url, headers=headers, timeout=60))
        return self.browsers[-1]

    def is_in(self, browser: httpx.Client, *, url: str = "") -> bool:
        answer = browser.get(f"{url or self.url}/api/v1/models")
        assert answer.status_code in (200, 401)
        return answer.status_code == 200

    def seconds_until_out(self, browser: httpx.Client, *, url: str) -> float:
        began_s = time.monotonic()
        while self.is_in(browser, url=url):
            assert time.monotonic() - began_s < SEEN_WITHIN_S + 5
            time.sleep(0.1)
        return time.monotonic() - began_s


@pytest.fixture(scope="module")
def mill(servers: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    web = Stack(Path(tmp_path_factory.mktemp("accounts")))
    web.use_servers_of(servers)
    web.env |= {"PIXELMILL_AUTH": "accounts"}
    with web:
        web.start_web()
        mill = Mill(web, (web.url, web.start_another_web()))
        yield mill
        for browser in mill.browsers:
            browser.close()


async def tries(mill: Mill, name: str, addresses: list[str]) -> list[int]:
    """The statuses of wrong tries from these addresses, sixteen at a time."""
    room = asyncio.Semaphore(16)

    async def one(client: httpx.AsyncClient, number: int, address: str) -> int:
        data = {"user": name, "password": f"guess-{number}"}
        async with room:
            url = (mill.url, mill.other)[number % 2]
            headers = {"X-Forwarded-For": address}
            answer = await client.post(f"{url}/login", data=data, headers=headers)
            return answer.status_code

    async with httpx.AsyncClient(timeout=60) as client:
        asked = [one(client, number, address) for number, address in enumerate(addresses)]
        return await asyncio.gather(*asked)


@pytest.mark.parametrize("count", [1, 1000], ids=["one address", "a thousand addresses"])
def test_of_a_thousand_wrong_tries_at_most_twenty_are_let_through_and_others_sign_in(
    mill: Mill, count: int
) -> None:
    victim, other = mill.add(f"victim-of-{count}"), mill.add(f"other-than-{count}")
    addresses = [f"198.51.{n % count // 250}.{n % count % 250}" for n in range(1000)]

    async def attack() -> tuple[list[int], int]:
        attacking = asyncio.create_task(tries(mill, victim, addresses))
        await asyncio.sleep(0.5)
        signed_in = await asyncio.to_thread(mill.sign_in, other, address=addresses[0])
        return await attacking, signed_in.status_code

    statuses, of_other = asyncio.run(attack())

    assert statuses.count(401) <= 20
    assert statuses.count(401) + statuses.count(429) == 1000, "none got in, none broke anything"
    assert of_other == 303


async def test_a_flood_of_strangers_keeps_no_browser_of_before_out_and_counts_no_try_it_refuses(
    state_url: str, link: SyncRedis, in_process: None
) -> None:
    state, durable = AsyncRedis(state_url), DurableRedis(state_url)
    sign_in = SignIn(state, durable, AuditLog(state))
    link.do(users.add("in-a-flood", PASSWORD))

    def tried(name: str, password: str, client: Client) -> asyncio.Task[str]:
        return asyncio.create_task(sign_in.by_password(name, password, client, is_valid=True))

    async with sign_in._checking, sign_in._checking:  # as many as are checked at a time
        flood = [tried(f"name-{n}", "wrong", Client(f"192.0.2.{n}")) for n in range(MOST_STRANGERS)]
        while sign_in._waiting < MOST_STRANGERS:
            await asyncio.sleep(0.01)
        with pytest.raises(TooBusy):
            await tried("in-a-flood", PASSWORD, Client("192.0.2.99"))
        own = tried("in-a-flood", PASSWORD, Client("192.0.2.99", browser="known"))
        while sign_in._waiting == MOST_STRANGERS:
            await asyncio.sleep(0.01)

    assert await own
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert all(isinstance(outcome, WrongPassword) for outcome in outcomes)
    counted = sign_in_tries.of_stranger("in-a-flood", "192.0.2.99").names
    assert not link.do(command(bool, "EXISTS", *counted, kinds=NUMBER))
    await state.close()


def test_a_browser_of_before_still_gets_in_while_strangers_guess(mill: Mill) -> None:
    name = mill.add("often-here")
    browser = mill.browser(name)
    mill.guess(name)

    stranger = mill.sign_in(name, address="198.51.100.2")
    own = browser.post("/login", data={"user": name, "password": PASSWORD})

    assert stranger.status_code == 429 and int(stranger.headers["retry-after"]) > 60
    assert "Try again in" in stranger.text
    assert own.status_code == 303


def test_a_browser_of_before_a_change_of_the_password_is_a_stranger(mill: Mill) -> None:
    name, new = mill.add("was-watched"), "a much better horse"
    own, thief = mill.browser(name), mill.browser(name)
    changed = own.post("/account/password", data={"old": PASSWORD, "new": new})
    own.headers["cookie"] = cookies_of(changed)
    mill.guess(name)

    assert thief.post("/login", data={"user": name, "password": new}).status_code == 429
    assert own.post("/login", data={"user": name, "password": new}).status_code == 303


def test_a_session_that_is_ended_on_one_process_is_over_on_the_other(mill: Mill) -> None:
    browser = mill.browser(mill.add("ada"))
    assert mill.is_in(browser) and mill.is_in(browser, url=mill.other)

    answer = browser.post("/logout")

    assert answer.status_code == 303 and "Max-Age=0" in answer.headers["set-cookie"]
    assert not mill.is_in(browser)
    assert mill.seconds_until_out(browser, url=mill.other) < SEEN_WITHIN_S


def test_an_open_stream_ends_with_its_session_or_key(mill: Mill) -> None:
    name = mill.add("watches")
    browser = mill.browser(name)
    key = mill.link.do(api_keys.add("key-that-watches", name))
    assert key
    headers = {"Authorization": "Bearer key-that-watches"}

    def seconds_until_end(client: httpx.Client, end: Callable[[], object], **more: Any) -> float:
        with client.stream("GET", "/api/v1/events", **more) as stream:
            parts = stream.iter_bytes()
            assert stream.status_code == 200 and b"retry" in next(parts)
            end()
            began_s = time.monotonic()
            for _ in parts:
                pass
            return time.monotonic() - began_s

    with httpx.Client(base_url=mill.other, timeout=30) as program:
        by_key = seconds_until_end(
            program, lambda: mill.link.do(api_keys.revoke(name, key.id)), headers=headers
        )
    by_session = seconds_until_end(browser, lambda: mill.link.do(users.end_sessions(name)))

    assert by_key < SEEN_WITHIN_S + 1 and by_session < SEEN_WITHIN_S


def test_an_export_is_cut_off_with_the_session_that_asked_for_it(mill: Mill) -> None:
    name = mill.add("exports")
    browser, photo = mill.browser(name), bytes(20 * 2**20)
    asked = {"size": len(photo), "type": "image/png"}
    address = browser.post("/api/v1/uploads", json=asked).json()["upload"]
    put = httpx.put(address["url"], content=photo, headers=address["headers"], timeout=60)
    assert put.status_code == 200

    with browser.stream("GET", "/api/v1/me/export") as stream:
        parts = stream.iter_raw()
        assert next(parts).startswith(b"PK")
        mill.link.do(users.end_sessions(name))
        time.sleep(SEEN_WITHIN_S)
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            sum(map(len, parts))


@pytest.mark.parametrize(
    "change",
    [
        lambda name: users.set_disabled(name, True),
        lambda name: users.set_role(name, "admin"),
        lambda name: users.reset_password(name, "another horse battery"),
        users.end_sessions,
    ],
    ids=["disable", "role", "reset", "sign-out"],
)
def test_what_an_admin_changes_ends_sessions_everywhere(
    mill: Mill, change: Callable[[str], Call[bool]], request: pytest.FixtureRequest
) -> None:
    name = mill.add(f"changed-{request.node.callspec.id}")
    browsers = [mill.browser(name), mill.browser(name)]
    urls = (mill.url, mill.other)
    assert all(mill.is_in(browser, url=url) for browser in browsers for url in urls)

    assert mill.link.do(change(name))

    for browser in browsers:
        for url in urls:
            assert mill.seconds_until_out(browser, url=url) < SEEN_WITHIN_S


def test_a_disabled_user_gets_in_by_no_way_until_enabled(mill: Mill) -> None:
    name = mill.add("switched-off")
    mill.link.do(api_keys.add("key-of-off", name))
    key = {"Authorization": "Bearer key-of-off"}
    assert httpx.get(f"{mill.url}/api/v1/models", headers=key).status_code == 200
    mill.link.do(users.set_disabled(name, True))
    time.sleep(3.5)

    signed_in = mill.sign_in(name)
    by_key = httpx.get(f"{mill.url}/api/v1/models", headers=key)

    assert signed_in.status_code == 403 and "disabled" in signed_in.text
    assert mill.sign_in(name, "wrong").status_code == 401, "only who knows the password is told"
    assert by_key.status_code == 401
    mill.link.do(users.set_disabled(name, False))
    assert mill.sign_in(name).status_code == 303


def test_the_page_changes_the_password_and_signs_out_the_others(mill: Mill) -> None:
    name = mill.add("changes-her-password")
    browser, stolen = mill.browser(name), mill.browser(name)
    form = {"old": PASSWORD, "new": "a much better horse"}

    answer = browser.post("/account/password", data=form)

    assert answer.status_code == 200 and "was changed" in answer.text
    browser.headers["cookie"] = answer.headers["set-cookie"].split(";")[0]
    assert mill.is_in(browser), "this browser stays, with a new session"
    assert mill.seconds_until_out(stolen, url=mill.url) < SEEN_WITHIN_S
    assert mill.sign_in(name).status_code == 401
    assert mill.sign_in(name, "a much better horse").status_code == 303


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("wrong", "a much better horse", "is wrong"),
        (PASSWORD, "short", "at least 8 characters"),
        (PASSWORD, "stays-as-it-is", "must not be the name"),
        (PASSWORD, "x" * 300, "at most 256 characters"),
    ],
)
def test_the_page_says_why_a_password_is_not_changed(
    mill: Mill, old: str, new: str, reason: str
) -> None:
    name = mill.add("stays-as-it-is")
    browser = mill.browser(name)

    answer = browser.post("/account/password", data={"old": old, "new": new})

    assert answer.status_code == 422 and reason in answer.text
    assert mill.is_in(browser)
    assert new == name or new not in answer.text


def test_the_page_lists_the_browsers_and_ends_one_or_all(mill: Mill) -> None:
    name = mill.add("everywhere")
    first, second = mill.browser(name), mill.browser(name)
    page = first.get("/account").text
    ids = re.findall(r'name="id" value="([0-9a-f]{32})"', page)
    assert len(ids) == 2 and page.count("this browser</em>") == 1
    assert "127.0.0.0/24" in page

    of_first = re.findall(r'name="id" value="(\w+)"', page.partition("this browser</em>")[2])[0]
    [of_second] = [found for found in ids if found != of_first]
    ended = first.post("/account/sessions/end", data={"id": of_second})

    assert ended.status_code == 303
    assert mill.seconds_until_out(second, url=mill.url) < SEEN_WITHIN_S
    assert mill.is_in(first)
    left = first.post("/account/sessions/end-all")
    assert left.status_code == 303 and left.headers["clear-site-data"] == '"cache", "storage"'
    assert mill.seconds_until_out(first, url=mill.url) < SEEN_WITHIN_S


def test_the_api_lists_the_browsers_and_ends_one_or_all(mill: Mill) -> None:
    name = mill.add("by-the-api")
    first, second = mill.browser(name), mill.browser(name)
    stranger = mill.browser(mill.add("stranger-to-the-api"))
    listed = first.get("/api/v1/me/sessions").json()["sessions"]
    [of_second] = [item["id"] for item in listed if not item["is_this"]]

    assert all(item["network"] == "127.0.0.0/24" and item["browser"] for item in listed)
    assert stranger.delete(f"/api/v1/me/sessions/{of_second}").status_code == 404
    assert first.delete(f"/api/v1/me/sessions/{of_second}").status_code == 204
    assert first.delete(f"/api/v1/me/sessions/{of_second}").status_code == 404
    assert mill.seconds_until_out(second, url=mill.url) < SEEN_WITHIN_S
    assert mill.is_in(first) and mill.is_in(stranger)
    assert first.delete("/api/v1/me/sessions").status_code == 204
    assert mill.seconds_until_out(first, url=mill.other) < SEEN_WITHIN_S


def test_nobody_ends_the_sessions_of_another_or_from_another_site(mill: Mill) -> None:
    ada, eve = mill.browser(mill.add("ada-2")), mill.browser(mill.add("eve-2"))
    [of_ada] = re.findall(r'name="id" value="([0-9a-f]{32})"', ada.get("/account").text)
    foreign = {"origin": "https://evil.example"}

    eve.post("/account/sessions/end", data={"id": of_ada})
    answers = [
        ada.post(path, data={"id": of_ada, "old": PASSWORD, "new": PASSWORD}, headers=foreign)
        for path in ("/account/password", "/account/sessions/end", "/account/sessions/end-all")
    ]

    time.sleep(2.5)
    assert mill.is_in(ada)
    assert [answer.status_code for answer in answers] == [403] * 3


def test_a_key_opens_the_api_and_changes_no_account(mill: Mill) -> None:
    mill.link.do(api_keys.add("key-of-ada-3", mill.add("ada-3")))
    key = {"Authorization": "Bearer key-of-ada-3"}

    answer = httpx.post(
        f"{mill.url}/account/password", data={"old": PASSWORD, "new": "z" * 20}, headers=key
    )

    assert answer.status_code == 401
    assert mill.sign_in("ada-3").status_code == 303


def test_a_cookie_of_no_session_opens_nothing(mill: Mill) -> None:
    browser = mill.browser(mill.add("ada-4"))
    name, _, value = browser.headers["cookie"].split(";")[0].partition("=")
    for forged in (value[:-1] + ("A" if value[-1] != "A" else "B"), "s.ada-4.", "s..x", "s.x"):
        answer = httpx.get(f"{mill.url}/api/v1/models", headers={"cookie": f"{name}={forged}"})
        assert answer.status_code == 401, forged

    stolen = value.replace("s.ada-4.", f"s.{mill.add('eve-4')}.")
    answer = httpx.get(f"{mill.url}/api/v1/models", headers={"cookie": f"{name}={stolen}"})
    assert answer.status_code == 401, "her token opens no account but hers"


def test_sign_ins_are_counted_and_in_the_audit_log_without_the_word_that_was_typed(
    mill: Mill,
) -> None:
    name = mill.add("watched")
    mill.sign_in(name)
    mill.sign_in(name, "wrong")
    mill.sign_in("my-password-typed-as-a-name", "x")

    events = [event for event in mill.link.do(audit.read(most=20)) if event.action == "sign_in"]
    seen = [(event.user, event.target, event.outcome) for event in events[:3]]
    assert seen == [("", "", "wrong"), ("", name, "wrong"), (name, name, "ok")]
    assert all(event.network == "127.0.0.0/24" for event in events[:3])
    metrics = httpx.get(f"{mill.url}/metrics").text
    assert re.search(r'pixelmill_sign_ins_total\{outcome="wrong"\} [1-9]', metrics)


def test_a_wait_is_told_to_programs_too(mill: Mill) -> None:
    name = mill.add("of-a-program")
    mill.guess(name)

    form = {"username": name, "password": PASSWORD}
    answer = httpx.post(f"{mill.url}/ui/login", data=form)

    assert answer.status_code == 429 and answer.headers["retry-after"]
    assert answer.json()["error"]["code"] == "too_many_tries"


def with_first_password(mill: Mill, name: str, first_ms: int = users.FIRST_PASSWORD_MS) -> str:
    """An account as `pixelmill users add` makes it: somebody has to choose its password yet."""
    assert mill.link.do(users.add(name, PASSWORD, first_ms=first_ms))
    return name


def proof_in(page: httpx.Response) -> str:
    [proof] = re.findall(r'name="proof" value="([^"]+)"', page.text)
    return str(proof)


def test_a_first_password_opens_nothing_but_the_choice_of_ones_own(mill: Mill) -> None:
    name = with_first_password(mill, "new-here")

    asked = mill.sign_in(name)
    of_program = httpx.post(f"{mill.url}/ui/login", data={"username": name, "password": PASSWORD})
    proof = proof_in(asked)

    def choose(new: str) -> httpx.Response:
        form = {"proof": proof, "new": new}
        return httpx.post(f"{mill.other}/login/first", data=form, timeout=60)

    assert asked.status_code == 200 and "set-cookie" not in asked.headers
    assert of_program.json()["error"]["code"] == "first_password"
    assert "set-cookie" not in of_program.headers
    weak, same = choose("photo"), choose(PASSWORD)
    assert "at least 8" in weak.text and "that you were given" in same.text
    chosen = choose("a much better horse")
    assert chosen.status_code == 303
    cookie = {"cookie": chosen.headers["set-cookie"].split(";")[0]}
    assert httpx.get(f"{mill.url}/api/v1/models", headers=cookie).status_code == 200
    assert mill.sign_in(name).status_code == 401
    assert mill.sign_in(name, "a much better horse").status_code == 303
    assert choose("another better horse").status_code == 401, "the proof counts once"


def test_a_first_password_ends_after_its_time(mill: Mill) -> None:
    name = with_first_password(mill, "too-late", first_ms=1)

    answer = mill.sign_in(name)

    assert answer.status_code == 403 and "not used in time" in answer.text
    assert "set-cookie" not in answer.headers


def test_nobody_chooses_a_password_without_having_typed_the_first_one(mill: Mill) -> None:
    name = with_first_password(mill, "not-hers")
    proof = proof_in(mill.sign_in(name))
    own = mill.add("has-her-own")

    for forged in (proof.replace(name, own), proof[:-3] + "AAA", f"{name}.x.y.z", "", "."):
        form = {"proof": forged, "new": "a much better horse"}
        answer = httpx.post(f"{mill.url}/login/first", data=form)
        assert answer.status_code in (401, 422), forged
        assert "set-cookie" not in answer.headers
    assert mill.sign_in(own).status_code == 303


def test_where_people_sign_in_the_system_page_is_for_admins_alone(mill: Mill) -> None:
    admin, user = mill.browser(mill.add("chief", role="admin")), mill.browser(mill.add("clerk"))

    found = [browser.get("/system") for browser in (admin, user)]
    nobody = httpx.get(f"{mill.url}/system")

    assert [answer.status_code for answer in found] == [200, 403]
    assert "Audit log" in found[0].text and "for admins only" in found[1].text
    assert (nobody.status_code, nobody.headers["location"]) == (303, "/login")
