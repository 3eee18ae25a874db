"""The raw loop of `bench-hit`: a bare ASGI app that answers what a Redis has under a body's hash.

`python cached.py PORT REDIS_URL`. It checks nobody, counts nothing and writes nothing down.
"""

import hashlib
import sys
from typing import Any

import redis.asyncio
import uvicorn

client: Any = redis.asyncio.Redis.from_url(sys.argv[2])
HEADERS = [(b"content-type", b"application/json")]


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    found = await client.get(hashlib.sha256(body).hexdigest())
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": found or b"{}"})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
