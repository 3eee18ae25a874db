"""What a program is told: the messages of Gradio's queue, made of the jobs of its session."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from time import monotonic
from typing import Any

import orjson
import structlog

from storage.errors import StorageDown
from storage.jobs.snapshots import Snapshot
from storage.states import ENDED
from tasks.errors import JobError, storage_unavailable
from tasks.message import error_record
from web.api.responses import JobBody, ObjectBody
from web.jobs.sessions import Event, Sessions
from web.live.sse import EventStream
from web.live.watcher import JobWatcher

READ_S = 0.4
"""So often the session is asked for new calls, which may reach other processes, while it waits for
the end of earlier ones."""
HEARTBEAT = b'data: {"msg":"heartbeat"}\n\n'
CLOSE = b'data: {"msg":"close_stream"}\n\n'
ENDINGS = {"image/png": "png", "image/webp": "webp", "image/avif": "avif", "image/jpeg": "jpg"}

log = structlog.get_logger()

Show = Callable[[Snapshot], JobBody]
"""A job as the API shows it."""


_FAILED = JobError("the server failed", hint="Try again.")


class GradioStream(EventStream):
    """An event stream as Gradio's client takes it: it fails on comments and on `retry`."""

    opening, ping = b"", HEARTBEAT


class SessionMessages:
    """The messages to one session, as an async iterator: until it waits for nothing any more."""

    def __init__(
        self, sessions: Sessions, watcher: JobWatcher, user: str, session: str, show: Show
    ) -> None:
        self._sessions, self._watcher, self._show = sessions, watcher, show
        self._user, self._session = user, session
        self._messages: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self._telling: dict[str, asyncio.Task[None]] = {}
        self._read_s = 0.0

    async def chunks(self) -> AsyncIterator[bytes]:
        """The messages as server-sent events; an empty chunk if there is nothing to say."""
        try:
            while await self._is_waiting():
                try:
                    event_id, message = await asyncio.wait_for(self._messages.get(), READ_S)
                except TimeoutError:
                    yield b""
                    continue
                if message["msg"] == "process_completed":
                    await self._forget(event_id)
                yield _chunk({"event_id": event_id, **message})
            yield CLOSE
        finally:
            for task in self._telling.values():
                task.cancel()

    async def _is_waiting(self) -> bool:
        """Whether the session waits for anything; begins to tell of what it has just asked for."""
        if not self._telling or monotonic() - self._read_s > READ_S:
            self._read_s = monotonic()
            for event_id, event in (await self._sessions.events(self._user, self._session)).items():
                if event_id not in self._telling:
                    self._telling[event_id] = asyncio.create_task(self._tell(event_id, event))
        return bool(self._telling)

    async def _forget(self, event_id: str) -> None:
        await self._sessions.remove(self._user, self._session, event_id)
        del self._telling[event_id]

    async def _tell(self, event_id: str, event: Event) -> None:
        """Put all messages of one event, the last of which says how it ended."""
        try:
            if event.error:
                self._put(event_id, _failure(event.error))
                return
            first = await self._watcher.get(self._user, event.job_id)
            async for snapshot in self._watcher.watch(first):
                job = self._show(snapshot)
                for message in _messages(job, event):
                    self._put(event_id, message)
        except JobError as error:
            self._put(event_id, _failure(error_record(error)))
        except StorageDown:
            self._put(event_id, _failure(error_record(storage_unavailable())))
        except Exception:  # whatever it is, the client must not wait for ever
            log.exception("event of a program not told")
            self._put(event_id, _failure(error_record(_FAILED)))

    def _put(self, event_id: str, message: dict[str, Any]) -> None:
        self._messages.put_nowait((event_id, message))


def _messages(job: JobBody, event: Event) -> list[dict[str, Any]]:
    """What is said of a job as it is now."""
    if job["state"] in ENDED:
        return [_end(job, event)]
    if job["state"] == "queued":
        ahead = (job["position"] or 1) - 1
        return [
            {"msg": "estimation", "rank": ahead, "queue_size": ahead + 1, "rank_eta": job["eta_s"]}
        ]
    unit = {"index": None, "length": None, "unit": "steps", "desc": job["stage"]}
    return [
        {"msg": "process_starts", "eta": job["eta_s"]},
        {"msg": "progress", "progress_data": [{**unit, "progress": job["progress"]}]},
    ]


def _end(job: JobBody, event: Event) -> dict[str, Any]:
    if job["result"] is None:
        error = job["error"] or {"message": f"the job was {job['state']}", "hint": None}
        return _failure(error)
    output = {"data": [_picture(job, event), job], "is_generating": False}
    return {"msg": "process_completed", "success": True, "output": output}


def _failure(error: Mapping[str, Any]) -> dict[str, Any]:
    """The end of a call as an error of Gradio's, with our sentence."""
    message = f"{error['message']} ({error['hint']})" if error["hint"] else error["message"]
    output = {"error": message, "title": "Error", "visible": True, "duration": 10}
    return {"msg": "process_completed", "success": False, "output": output}


def _picture(job: JobBody, event: Event) -> dict[str, Any] | None:
    """The first of the pictures that were asked for, as a file of Gradio's; None without any."""
    objects = job["result"]["objects"] if job["result"] else {}
    wanted = [part for name in event.wanted for part in (name, name.partition("-")[0])]
    name = next((name for name in [*wanted, *objects] if name in objects), None)
    if name is None:
        return None
    return _file(job["id"], name, objects[name], event.stem)


def _file(job_id: str, name: str, picture: ObjectBody, stem: str) -> dict[str, Any]:
    """`path` is what `/gradio_api/file=` is asked for, and its last part the name on the disk."""
    file = f"{stem}-{name}.{ENDINGS.get(picture['type'], 'bin')}"
    return {
        "path": f"{job_id}/{name}/{file}",
        "url": picture["url"],
        "size": picture["bytes"],
        "orig_name": file,
        "mime_type": picture["type"],
        "is_stream": False,
        "meta": {"_type": "gradio.FileData"},
    }


def _chunk(message: Mapping[str, Any]) -> bytes:
    return b"data: %b\n\n" % orjson.dumps(message)
