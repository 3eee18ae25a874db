"""Whatever breaks while jobs are looked at, all who asked are told, and the next look works."""

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from storage.errors import StorageDown
from storage.jobs.snapshots import JobSnapshots
from web.live.snapshots import Snapshots

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
     asyncio.CancelledError(), StorageDown("away")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
async def test_all_who_share_a_read_that_breaks_are_told(error: BaseException) -> None:
    views = Snapshots(Records(error).read, gather_s=0.001)

    with capture_logs():
        asked = [asyncio.ensure_future(views.look([str(n)])) for n in range(3)]
        found = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), PATIENCE_S)

        assert all(isinstance(one, Exception) for one in found)
        assert (await asyncio.wait_for(views.look(["a"]), PATIENCE_S)).at_ms == 1.0


async def test_one_whose_callback_raises_keeps_nobody_else_waiting() -> None:
    views, told = Snapshots(Records().read), asyncio.Event()

    def broken(job_ids: set[str], found: JobSnapshots | Exception) -> None:
        raise ValueError("odd")

    with capture_logs() as logs:
        views.ask(["a"], broken)
        views.ask(["b"], lambda *_: told.set())
        await asyncio.wait_for(told.wait(), PATIENCE_S)

    assert (await asyncio.wait_for(views.look(["c"]), PATIENCE_S)).at_ms == 1.0
    assert [one["loop"] for one in logs] == ["views"]
