"""Whoever listens is woken by what is said, and looks again when something may have been lost."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
import redis
from structlog.testing import capture_logs

from storage import keys
from web.live import pubsub as hubs
from web.live.pubsub import Heard, Hub, Listener

pytest_plugins = ["inprocess"]

PATIENCE_S = 5
RUN, OTHER = keys.run_events("run"), keys.run_events("other")


@pytest.fixture
async def hub(state_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    """A hub that follows; its clock stands still."""
    monkeypatch.setattr(hubs, "LOOK_AGAIN_S", 3600)
    made = Hub(state_url)
    made.start()
    with made.listening("warm-up") as listener:
        assert await heard(listener) == {}
    yield made
    await made.stop()
    await made.close()


@pytest.fixture
def say(state: "redis.Redis") -> Callable[[str, str], None]:
    def publish(channel: str, word: str) -> None:
        state.publish(channel, word)

    return publish


async def heard(listener: Listener) -> Heard:
    return await asyncio.wait_for(listener.heard(), PATIENCE_S)


async def words(listener: Listener, channel: str, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        found += (await heard(listener))[channel]
    return found


async def test_a_listener_hears_its_channel(hub: Hub, say: Callable[[str, str], None]) -> None:
    with hub.listening(RUN) as listener:
        say(RUN, "done")

        assert await heard(listener) == {RUN: [b"done"]}


async def test_a_listener_hears_no_other_channel(hub: Hub, say: Callable[[str, str], None]) -> None:
    with hub.listening(RUN) as listener:
        say(OTHER, "1")
        say(RUN, "2")

        assert await heard(listener) == {RUN: [b"2"]}


async def test_a_users_new_jobs_are_heard_of(hub: Hub, say: Callable[[str, str], None]) -> None:
    channel = keys.user_jobs("ada")
    with hub.listening(channel) as listener:
        say(channel, "job")

        assert await heard(listener) == {channel: [b"job"]}


async def test_all_listeners_of_a_channel_hear_it(
    hub: Hub, say: Callable[[str, str], None]
) -> None:
    with hub.listening(RUN) as one, hub.listening(RUN) as other:
        say(RUN, "done")

        assert [await heard(one), await heard(other)] == [{RUN: [b"done"]}] * 2


async def test_one_who_leaves_does_not_deafen_the_other(
    hub: Hub, say: Callable[[str, str], None]
) -> None:
    with hub.listening(RUN) as stays:
        with hub.listening(RUN):
            pass
        say(RUN, "done")

        assert await heard(stays) == {RUN: [b"done"]}


async def test_channels_can_be_added_and_dropped(hub: Hub, say: Callable[[str, str], None]) -> None:
    with hub.listening(RUN) as listener:
        listener.add(OTHER)
        listener.drop(RUN)
        say(RUN, "1")
        say(OTHER, "2")

        assert await heard(listener) == {OTHER: [b"2"]}


async def test_nothing_is_kept_of_those_who_left(hub: Hub) -> None:
    with hub.listening(RUN) as listener:
        listener.add(OTHER)

    assert hub.listeners == {}


async def test_words_come_in_order_and_none_is_missing(
    hub: Hub, say: Callable[[str, str], None]
) -> None:
    with hub.listening(RUN) as listener:
        for number in range(50):
            say(RUN, str(number))

        assert await words(listener, RUN, 50) == [b"%d" % number for number in range(50)]


async def test_a_listener_that_breaks_is_asked_to_look_and_harms_nobody_else(
    hub: Hub, say: Callable[[str, str], None]
) -> None:
    def broken(channel: str, word: bytes) -> None:
        raise ValueError(word)

    with hub.listening(RUN) as bad, hub.listening(RUN) as good, capture_logs() as logs:
        bad.hear = broken
        joined = hub.joined
        say(RUN, "odd")

        assert await heard(good) == {RUN: [b"odd"]}
        assert await asyncio.wait_for(bad.woken(), PATIENCE_S), "it looks at the record"
        say(RUN, "done")
        assert await heard(good) == {RUN: [b"done"]}

    assert hub.joined == joined, "the connection was kept"
    assert logs[0]["event"] == "loop failed" and logs[0]["loop"] == "hub"


async def test_the_clock_makes_everybody_look(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, state_url: str
) -> None:
    monkeypatch.setattr(hubs, "LOOK_AGAIN_S", 0.05)
    deaf = Hub("redis://127.0.0.1:1/0")
    deaf.start()
    with deaf.listening(RUN) as listener:
        assert await heard(listener) == {}
        assert await heard(listener) == {}
    await deaf.stop()
    await deaf.close()


async def test_after_a_lost_connection_everybody_looks_again(
    hub: Hub, state: "redis.Redis", say: Callable[[str, str], None]
) -> None:
    with hub.listening(RUN) as listener:
        before = listener.joined
        state.client_kill_filter(_type="pubsub")

        assert await heard(listener) == {}, "look again"
        assert listener.joined == before + 1
        say(RUN, "done")
        assert await heard(listener) == {RUN: [b"done"]}


async def test_a_connection_that_is_silent_is_taken_for_dead(
    state_url: str, state: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody closed it, but nothing comes through, not even answers to pings."""
    monkeypatch.setattr(hubs, "SILENT_S", 0.2)
    monkeypatch.setattr(hubs, "PAUSE_S", 0.01)
    hub = Hub(state_url)
    hub.start()
    with hub.listening(RUN) as listener, capture_logs() as logs:
        await heard(listener)
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(hubs._Words, "data_received", lambda self, data: None)
            async with asyncio.timeout(PATIENCE_S):
                while not logs:
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(PATIENCE_S):
            while listener.joined < 2:
                await listener.heard()

    assert "silent" in logs[0]["reason"]
    await hub.stop()
    await hub.close()


async def test_pings_keep_a_silent_connection(
    state_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "SILENT_S", 0.5)
    hub = Hub(state_url)
    hub.start()
    with hub.listening(RUN) as listener:
        await heard(listener)
        with suppress(TimeoutError):
            await asyncio.wait_for(listener.heard(), 1.2)

        assert listener.joined == 1
    await hub.stop()
    await hub.close()


async def test_a_hub_that_is_not_allowed_to_listen_goes_on_trying(
    state_url: str, state: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "PAUSE_S", 0.01)
    state.execute_command("ACL SETUSER deaf on nopass ~* resetchannels +@all")
    hub = Hub(state_url.replace("//", "//deaf:nopass@"))
    hub.start()
    with hub.listening(RUN) as listener, capture_logs() as logs:
        async with asyncio.timeout(PATIENCE_S):
            while len(logs) < 2:
                await asyncio.sleep(0.01)

        state.execute_command("ACL SETUSER deaf allchannels")
        assert await heard(listener) == {}
    await hub.stop()
    await hub.close()
    state.execute_command("ACL DELUSER deaf")

    assert "permissions" in logs[0]["reason"]


async def test_a_hub_that_was_stopped_leaves_no_complaint_behind(state_url: str) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, said: complaints.append(said))
    hub = Hub(state_url)
    hub.start()
    with hub.listening(RUN) as listener:
        await heard(listener)
    await hub.stop()
    await hub.close()

    await asyncio.sleep(0)  # the transport tells of its end
    gc.collect()

    assert complaints == []


async def test_a_hub_without_redis_goes_on_trying() -> None:
    hub = Hub("redis://127.0.0.1:1/0")
    with capture_logs() as logs:
        hub.start()
        async with asyncio.timeout(PATIENCE_S):
            while len(logs) < 2:
                await asyncio.sleep(0.01)

    assert all(one["event"] == "event stream lost" for one in logs)
    await hub.stop()
    await hub.close()
