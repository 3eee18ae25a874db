"""Results in the cache Redis."""

import redis
from job_calls import KEY

from storage import keys
from storage import results as stored_results
from storage.redis.calls import SyncRedis

pytest_plugins = ["inprocess"]


def test_a_remembered_result_is_found_until_it_expires(
    link: SyncRedis, state: "redis.Redis"
) -> None:
    link.do(stored_results.write(KEY, '{"é": 1}', 60))

    assert link.do(stored_results.read(KEY)) == '{"é": 1}'
    assert 0 < state.ttl(keys.result(KEY)) <= 60


def test_an_unknown_result_is_none(link: SyncRedis) -> None:
    assert link.do(stored_results.read("unknown")) is None
