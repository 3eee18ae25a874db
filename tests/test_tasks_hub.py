"""Whoever waits for a run is woken by its changes, and looks again after a lost connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
import redis

from storage import keys
from tasks.hub import Hub, next_change

pytest_plugins = ["inprocess"]

PATIENCE_S = 5


@pytest.fixture
async def hub(state_url: str) -> AsyncIterator[Hub]:
    """A hub that follows."""
    made = Hub(state_url)
    following = asyncio.create_task(made.run())
    with made.listening("warm-up") as changes:
        assert await asyncio.wait_for(changes.get(), PATIENCE_S) == {}
    yield made
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await made._client.aclose()


@pytest.fixture
def publish(state: "redis.Redis") -> Callable[..., None]:
    def say(request_key: str, **change: object) -> None:
        state.publish(keys.run_events(request_key), json.dumps(change))

    return say


async def test_a_listener_hears_its_run(hub: Hub, publish: Callable[..., None]) -> None:
    with hub.listening("run") as changes:
        publish("run", state="done", version=3)

        assert await next_change(changes, PATIENCE_S) == {"state": "done", "version": 3}


async def test_a_listener_hears_no_other_run(hub: Hub, publish: Callable[..., None]) -> None:
    with hub.listening("mine") as changes:
        publish("other", state="done", version=1)
        publish("mine", state="done", version=2)

        assert (await next_change(changes, PATIENCE_S))["version"] == 2
        assert changes.empty()


async def test_all_listeners_of_a_run_hear_it(hub: Hub, publish: Callable[..., None]) -> None:
    with hub.listening("run") as one, hub.listening("run") as other:
        publish("run", state="done", version=1)

        heard = [await next_change(changes, PATIENCE_S) for changes in (one, other)]

    assert heard == [{"state": "done", "version": 1}] * 2


async def test_one_who_leaves_does_not_deafen_the_other(
    hub: Hub, publish: Callable[..., None]
) -> None:
    with hub.listening("run") as stays:
        with hub.listening("run"):
            pass
        publish("run", state="done", version=1)

        assert (await next_change(stays, PATIENCE_S))["version"] == 1


async def test_nothing_is_kept_of_those_who_left(hub: Hub) -> None:
    with hub.listening("run"):
        pass

    assert hub._listeners == {}


async def test_changes_come_in_order(hub: Hub, publish: Callable[..., None]) -> None:
    with hub.listening("run") as changes:
        for version in range(20):
            publish("run", state="inferring", version=version)

        heard = [(await next_change(changes, PATIENCE_S))["version"] for _ in range(20)]

    assert heard == list(range(20))


async def test_silence_is_an_empty_change_after_the_timeout() -> None:
    assert await next_change(asyncio.Queue(), 0.01) == {}


async def test_after_a_lost_connection_everybody_looks_again(
    hub: Hub, state: "redis.Redis", publish: Callable[..., None]
) -> None:
    with hub.listening("run") as changes:
        state.client_kill_filter(_type="pubsub")

        assert await asyncio.wait_for(changes.get(), PATIENCE_S) == {}, "look again"
        publish("run", state="done", version=9)
        assert (await next_change(changes, PATIENCE_S))["version"] == 9


async def test_a_hub_without_redis_goes_on_trying() -> None:
    hub = Hub("redis://127.0.0.1:1/0")
    following = asyncio.create_task(hub.run())

    await asyncio.sleep(0.2)

    assert not following.done()
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await hub._client.aclose()
