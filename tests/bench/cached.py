"""The raw loop of `bench-hit`: a bare ASGI app that answers what a cache has under a body's hash.

`python cached.py PORT CACHE_URL STATE_URL`. It writes down each job, as one that can be asked for
later, and does nothing else: it checks nobody and nothing, counts nothing and signs nothing.
"""

import hashlib
import sys
from typing import Any
from uuid import uuid4

import redis.asyncio
import uvicorn

JOB_TTL_S = 3600
cache, state = (redis.asyncio.Redis.from_url(url) for url in sys.argv[2:])


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    asked = hashlib.sha256(body).hexdigest()
    found = await cache.get(asked) or b"{}"
    await write_down(asked, found)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(found))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": found})


async def write_down(asked: str, found: bytes) -> None:
    job = f"raw-job:{uuid4().hex}"
    async with state.pipeline(transaction=False) as commands:
        commands.hset(job, mapping={"state": "done", "asked": asked, "result": found})
        commands.expire(job, JOB_TTL_S)
        await commands.execute()


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
