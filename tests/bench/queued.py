"""Puts runs into the queue past the web process: in messages of any size, at any stage."""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stack import Stack

from storage import catalogue, keys, object_keys, scratch
from storage.jobs import claims
from storage.jobs.queueing import enqueue
from storage.jobs.spec import RunRef, Spec
from storage.redis import calls
from storage.scratch import FolderScratch
from tasks import envelope, queues
from tasks.message import new_message

PATIENCE_S = 120


class Queued:
    """Claims runs of one model, then queues them all at once."""

    def __init__(self, stack: Stack, model: str, first: int = 0) -> None:
        """`first`: number of the first run; another instance must use others."""
        self.stack, self.model = stack, model
        self.state = stack.state  # one client: each has a connection of its own to open
        self.link = calls.SyncRedis(self.state)
        self.numbers = itertools.count(first)
        card = self.link.do(catalogue.read()).models[model]
        self.weights, self.code = card["weights"], card["code"]
        folder = Path(stack.env["PIXELMILL_S3_URL"].removeprefix("file://"))
        upload = folder / object_keys.upload_object("bench", "upload")
        upload.parent.mkdir(parents=True, exist_ok=True)
        upload.write_bytes(b"looked at by nobody")

    def claim(self, params: Mapping[str, Any] | None = None) -> RunRef:
        """A run that nobody has queued yet."""
        number = next(self.numbers)
        key = f"bench-{number:08}".ljust(64, "0")
        # Numbered, or equal bytes with equal parameters are answered by the first one's result.
        given = {"salt": number, **(params or {})}
        spec = Spec(
            key, "bench", self.model, given, ["alpha"], "upload",
            weights=self.weights, code=self.code,
        )  # fmt: skip
        asked = claims.claim(key[:32], spec, priority="interactive", job_ttl_s=600)
        return RunRef(key, self.link.do(asked).attempt)

    def post(self, refs: Sequence[RunRef], size: int, stage: str = "preprocess") -> int:
        """Queue runs for a stage in messages of `size`; how many messages."""
        request = SimpleNamespace(task=stage, root_id="", parent_id=None)
        letters = [
            envelope.same(request, new_message(self.model, "interactive", refs[at : at + size]))
            for at in range(0, len(refs), size)
        ]
        self.link.do(enqueue(letters))
        return len(letters)

    def wait(self) -> None:
        """Return when every run has ended."""
        self.wait_until(lambda: not self.state.zcard(keys.ACTIVE))

    def wait_until(self, is_so: Any) -> None:
        """Poll, fifty times a second: who measures must not use what is measured."""
        end = time.perf_counter() + PATIENCE_S
        while not is_so():
            if time.perf_counter() > end:
                raise TimeoutError(f"runs of {self.model} did not end in {PATIENCE_S} s")
            time.sleep(0.02)

    def per_s(self, size: int, runs: int) -> float:
        """Runs per second of so many in messages of `size`, from the first stage to their end."""
        refs = [self.claim() for _ in range(runs)]
        began = time.perf_counter()
        self.post(refs, size)
        self.wait()
        return runs / (time.perf_counter() - began)

    def stage_alone_per_s(self, array: Any, installation: str, runs: int) -> float:
        """Runs per second of the gpu stage, nothing else running: the arrays lie there already."""
        store = FolderScratch(Path(self.stack.env["PIXELMILL_SCRATCH_DIR"]))
        refs = [self.claim() for _ in range(runs)]
        for ref in refs:
            store.put(scratch.name(installation, ref.key[:32], ref.attempt, "input"), array)
        following = keys.queue("cpu", queues.CELERY_PRIORITY["postprocess", "interactive"])
        began = time.perf_counter()
        letters = self.post(refs, 1, "inference")
        self.wait_until(lambda: self.state.llen(following) == letters)
        spent_s = time.perf_counter() - began
        self.state.delete(following)
        return runs / spent_s


def result_of(stack: Stack, ref: RunRef) -> tuple[str, dict[str, Any]]:
    """(state, result or error) of an ended run."""
    state, result, error = stack.state.hmget(keys.run(ref.key), "state", "result", "error")
    return state.decode(), json.loads(result or error)
