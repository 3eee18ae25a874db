"""Stands before S3 and is slow or refuses at will: `python proxy.py <port> <port of S3>`.

Each connection carries one request, so that a fault hits a call and not what a client keeps open.
`POST /-/faults {"delay_s": 2, "refused": 0.05}` sets the faults; `GET /-/puts` says how often each
key was written.
"""

import asyncio
import json
import random
import sys
from collections import Counter
from contextlib import suppress

SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>chaos</Message></Error>"

faults = {"delay_s": 0.0, "refused": 0.0}
puts: Counter[str] = Counter()
chance = random.Random(1)  # the same calls fail in every run of equal order


async def serve(port: int, upstream: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await _one_request(reader, writer, upstream)
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


async def _one_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: int
) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    method, path = head.split(b" ", 2)[:2]
    if path.startswith(b"/-/"):
        writer.write(_answer(200, await _control(path, head, reader)))
        await writer.drain()
        return
    await asyncio.sleep(faults["delay_s"])
    if chance.random() < faults["refused"]:
        writer.write(_answer(503, SLOW_DOWN))
        await writer.drain()
        writer.write_eof()
        with suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), 1)  # what is unread would reset the answer away
        return
    if method == b"PUT":
        puts[path.decode()] += 1
    there, onward = await asyncio.open_connection("127.0.0.1", upstream)
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    onward.write(b"\r\n".join([lines[0], b"Connection: close", *lines[1:]]))
    sending = asyncio.create_task(_pump(reader, onward))
    try:
        await _pump(there, writer)
    finally:
        sending.cancel()
        onward.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await source.read(65_536):
            sink.write(chunk)
            await sink.drain()


async def _control(path: bytes, head: bytes, reader: asyncio.StreamReader) -> bytes:
    if path == b"/-/puts":
        return json.dumps(puts).encode()
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    faults.update(json.loads(await reader.readexactly(int(length))))
    return b"{}"


def _answer(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
