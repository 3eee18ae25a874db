"""Whatever breaks while jobs are read, all who asked get an answer, and the next read works."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from storage.errors import StorageDown
from storage.jobs.snapshots import JobSnapshots
from web.live.snapshots import SnapshotReader

PATIENCE_S = 5.0


class Records:
    """Answers after `errors` are used up."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)

    async def read(self, job_ids: Sequence[str]) -> JobSnapshots:
        await asyncio.sleep(0.01)
        if self.errors:
            raise self.errors.pop(0)
        return JobSnapshots(1.0, {})


@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), SystemExit(1), KeyboardInterrupt(), GeneratorExit(),
     asyncio.CancelledError(), StorageDown("down")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_all_who_share_a_read_that_breaks_get_an_answer(error: BaseException) -> None:
    reader = SnapshotReader(Records(error).read, throttle_s=0.001)

    with capture_logs():
        asked = [asyncio.ensure_future(reader.read([str(n)])) for n in range(3)]
        outcomes = await asyncio.wait_for(
            asyncio.gather(*asked, return_exceptions=True), PATIENCE_S
        )

        assert all(isinstance(outcome, Exception) for outcome in outcomes)
        assert (await asyncio.wait_for(reader.read(["a"]), PATIENCE_S)).at_ms == 1.0


async def test_a_callback_that_raises_keeps_no_other_waiting() -> None:
    reader, is_answered = SnapshotReader(Records().read), asyncio.Event()

    def broken(job_ids: set[str], outcome: JobSnapshots | Exception) -> None:
        raise ValueError("odd")

    with capture_logs() as logs:
        reader.request(["a"], broken)
        reader.request(["b"], lambda *_: is_answered.set())
        await asyncio.wait_for(is_answered.wait(), PATIENCE_S)

    assert (await asyncio.wait_for(reader.read(["c"]), PATIENCE_S)).at_ms == 1.0
    assert [entry["loop"] for entry in logs] == ["snapshots"]
