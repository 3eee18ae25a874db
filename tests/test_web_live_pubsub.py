"""Subscriptions get the messages of their channels, and a resync when some may have been lost."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
import redis
from structlog.testing import capture_logs

from storage import keys
from web.live import pubsub as module
from web.live.pubsub import Messages, PubSub, Subscription

pytest_plugins = ["inprocess"]

PATIENCE_S = 5
RUN, OTHER = keys.run_events("run"), keys.run_events("other")


@pytest.fixture
async def pubsub(state_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PubSub]:
    """Pub/sub that is connected and whose clock stands still."""
    monkeypatch.setattr(module, "RESYNC_S", 3600)
    made = PubSub(state_url)
    made.start()
    with made.subscribed("warm-up") as subscription:
        assert await messages(subscription) == {}
    yield made
    await made.stop()
    await made.close()


@pytest.fixture
def say(state: "redis.Redis") -> Callable[[str, str], None]:
    def publish(channel: str, message: str) -> None:
        state.publish(channel, message)

    return publish


async def messages(subscription: Subscription) -> Messages:
    return await asyncio.wait_for(subscription.messages(), PATIENCE_S)


async def all_messages(subscription: Subscription, channel: str, count: int) -> list[bytes]:
    received: list[bytes] = []
    while len(received) < count:
        received += (await messages(subscription))[channel]
    return received


async def test_a_subscription_gets_the_messages_of_its_channel(
    pubsub: PubSub, say: Callable[[str, str], None]
) -> None:
    with pubsub.subscribed(RUN) as subscription:
        say(RUN, "done")

        assert await messages(subscription) == {RUN: [b"done"]}


async def test_a_subscription_gets_no_messages_of_other_channels(
    pubsub: PubSub, say: Callable[[str, str], None]
) -> None:
    with pubsub.subscribed(RUN) as subscription:
        say(OTHER, "1")
        say(RUN, "2")

        assert await messages(subscription) == {RUN: [b"2"]}


async def test_an_event_of_several_runs_reaches_those_who_follow_one_of_them(
    pubsub: PubSub, say: Callable[[str, str], None]
) -> None:
    event = '{"state":"inferring","runs":["run","third"]}'
    with pubsub.subscribed(RUN) as of_run, pubsub.subscribed(OTHER) as of_other:
        say(keys.EVENTS_OF_SEVERAL, event)
        say(OTHER, "last")

        assert await messages(of_run) == {RUN: [event.encode()]}
        assert await messages(of_other) == {OTHER: [b"last"]}


async def test_an_event_of_several_runs_that_cannot_be_read_loses_no_later_one(
    pubsub: PubSub, say: Callable[[str, str], None]
) -> None:
    with pubsub.subscribed(RUN) as subscription:
        say(keys.EVENTS_OF_SEVERAL, "no JSON")
        say(RUN, "done")

        assert await messages(subscription) == {RUN: [b"done"]}


async def test_messages_about_a_users_new_jobs_arrive(
    pubsub: PubSub, say: Callable[[str, str], None]
) -> None:
    channel = keys.user_jobs("ada")
    with pubsub.subscribed(channel) as subscription:
        say(channel, "job")

        assert await messages(subscription) == {channel: [b"job"]}


async def test_all_subscriptions_of_a_channel_get_its_messages(
    pubsub: PubSub, say: Callable[[str, str], None]
) -> None:
    with pubsub.subscribed(RUN) as first, pubsub.subscribed(RUN) as other:
        say(RUN, "done")

        assert [await messages(first), await messages(other)] == [{RUN: [b"done"]}] * 2


async def test_a_subscription_that_is_closed_leaves_the_others_alone(
    pubsub: PubSub, say: Callable[[str, str], None]
) -> None:
    with pubsub.subscribed(RUN) as stays:
        with pubsub.subscribed(RUN):
            pass
        say(RUN, "done")

        assert await messages(stays) == {RUN: [b"done"]}


async def test_channels_can_be_added_and_removed(
    pubsub: PubSub, say: Callable[[str, str], None]
) -> None:
    with pubsub.subscribed(RUN) as subscription:
        subscription.add(OTHER)
        subscription.remove(RUN)
        say(RUN, "1")
        say(OTHER, "2")

        assert await messages(subscription) == {OTHER: [b"2"]}


async def test_nothing_is_kept_of_a_closed_subscription(pubsub: PubSub) -> None:
    with pubsub.subscribed(RUN) as subscription:
        subscription.add(OTHER)

    assert pubsub.subscriptions == {}


async def test_messages_arrive_in_order_and_none_is_missing(
    pubsub: PubSub, say: Callable[[str, str], None]
) -> None:
    with pubsub.subscribed(RUN) as subscription:
        for number in range(50):
            say(RUN, str(number))

        assert await all_messages(subscription, RUN, 50) == [b"%d" % number for number in range(50)]


async def test_a_callback_that_raises_causes_a_resync_and_harms_no_other_subscription(
    pubsub: PubSub, say: Callable[[str, str], None]
) -> None:
    def broken(channel: str, message: bytes) -> None:
        raise ValueError(message)

    with pubsub.subscribed(RUN) as bad, pubsub.subscribed(RUN) as good, capture_logs() as logs:
        bad.on_message = broken
        connects = pubsub.connects
        say(RUN, "odd")

        assert await messages(good) == {RUN: [b"odd"]}
        assert await asyncio.wait_for(bad.notified(), PATIENCE_S), "it reads the records again"
        say(RUN, "done")
        assert await messages(good) == {RUN: [b"done"]}

    assert pubsub.connects == connects, "the connection was kept"
    assert logs[0]["event"] == "loop failed" and logs[0]["loop"] == "pubsub"


async def test_the_clock_makes_every_subscription_resync(
    pubsub: PubSub, monkeypatch: pytest.MonkeyPatch, state_url: str
) -> None:
    monkeypatch.setattr(module, "RESYNC_S", 0.05)
    deaf = PubSub("redis://127.0.0.1:1/0")
    deaf.start()
    with deaf.subscribed(RUN) as subscription:
        assert await messages(subscription) == {}
        assert await messages(subscription) == {}
    await deaf.stop()
    await deaf.close()


async def test_after_a_lost_connection_every_subscription_resyncs(
    pubsub: PubSub, state: "redis.Redis", say: Callable[[str, str], None]
) -> None:
    with pubsub.subscribed(RUN) as subscription:
        before = subscription.connects
        state.client_kill_filter(_type="pubsub")

        assert await messages(subscription) == {}, "a resync"
        assert subscription.connects == before + 1
        say(RUN, "done")
        assert await messages(subscription) == {RUN: [b"done"]}


async def test_a_connection_that_is_silent_is_taken_for_dead(
    state_url: str, state: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody closed it, but nothing comes through, not even answers to pings."""
    monkeypatch.setattr(module, "SILENT_S", 0.2)
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    pubsub = PubSub(state_url)
    pubsub.start()
    with pubsub.subscribed(RUN) as subscription, capture_logs() as logs:
        await messages(subscription)
        with monkeypatch.context() as meanwhile:
            meanwhile.setattr(module._MessageReader, "data_received", lambda self, data: None)
            async with asyncio.timeout(PATIENCE_S):
                while not logs:
                    await asyncio.sleep(0.01)
        async with asyncio.timeout(PATIENCE_S):
            while subscription.connects < 2:
                await subscription.messages()

    assert "silent" in logs[0]["reason"]
    await pubsub.stop()
    await pubsub.close()


async def test_pings_keep_a_silent_connection(
    state_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_S", 0.5)
    pubsub = PubSub(state_url)
    pubsub.start()
    with pubsub.subscribed(RUN) as subscription:
        await messages(subscription)
        with suppress(TimeoutError):
            await asyncio.wait_for(subscription.messages(), 1.2)

        assert subscription.connects == 1
    await pubsub.stop()
    await pubsub.close()


async def test_pub_sub_that_is_not_allowed_to_subscribe_goes_on_trying(
    state_url: str, state: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    state.execute_command("ACL SETUSER deaf on nopass ~* resetchannels +@all")
    pubsub = PubSub(state_url.replace("//", "//deaf:nopass@"))
    pubsub.start()
    with pubsub.subscribed(RUN) as subscription, capture_logs() as logs:
        async with asyncio.timeout(PATIENCE_S):
            while len(logs) < 2:
                await asyncio.sleep(0.01)

        state.execute_command("ACL SETUSER deaf allchannels")
        assert await messages(subscription) == {}
    await pubsub.stop()
    await pubsub.close()
    state.execute_command("ACL DELUSER deaf")

    assert "permissions" in logs[0]["reason"]


async def test_pub_sub_that_was_stopped_leaves_no_complaint_behind(state_url: str) -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: complaints.append(context)
    )
    pubsub = PubSub(state_url)
    pubsub.start()
    with pubsub.subscribed(RUN) as subscription:
        await messages(subscription)
    await pubsub.stop()
    await pubsub.close()

    await asyncio.sleep(0)  # the transport reports its end
    gc.collect()

    assert complaints == []


async def test_pub_sub_without_redis_goes_on_trying() -> None:
    pubsub = PubSub("redis://127.0.0.1:1/0")
    with capture_logs() as logs:
        pubsub.start()
        async with asyncio.timeout(PATIENCE_S):
            while len(logs) < 2:
                await asyncio.sleep(0.01)

    assert all(entry["event"] == "pub/sub connection lost" for entry in logs)
    await pubsub.stop()
    await pubsub.close()
