"""A TCP proxy in the test's own event loop that does to connections what networks do, and worse."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

Meddle = Callable[[bytes], bytes | None]
"""What of a chunk of answers goes on; None: both ends are cut."""


class Proxy:
    """In front of one server; meddles with answers when told to."""

    def __init__(self, port: int) -> None:
        self._to = port
        self.meddle: Meddle | None = None
        self.is_silent = False
        """Whether answers are held back for ever."""
        self.port = 0
        self.upstream: str = ""
        """Address of the newest connection, as the server sees it."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[Any] | None] = set()

    def cut(self) -> None:
        """Abort all connections, as they are."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """Abort all connections and return once they are gone."""
        self.cut()
        await asyncio.gather(*(task for task in self._serving if task))

    def say(self, words: bytes) -> None:
        """Send this to the clients, as if the server had."""
        for writer in self._writers:
            if writer.get_extra_info("sockname")[1] == self.port:
                writer.write(words)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        self._serving.add(asyncio.current_task())
        there, onward = await asyncio.open_connection("127.0.0.1", self._to)
        host, port = onward.get_extra_info("sockname")
        self.upstream = f"{host}:{port}"
        self._writers |= {writer, onward}
        await asyncio.gather(self._questions(reader, onward), self._answers(there, writer))
        for stream in (writer, onward):
            with suppress(OSError):
                await stream.wait_closed()
        self._writers -= {writer, onward}
        self._serving.discard(asyncio.current_task())

    async def _questions(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                onward.write(data)
        onward.transport.abort()

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await there.read(65536):
                passed = self.meddle(data) if self.meddle else data
                if passed is None:
                    break
                if not self.is_silent:
                    writer.write(passed)
        writer.transport.abort()


@asynccontextmanager
async def before(port: int) -> AsyncIterator[Proxy]:
    """A proxy before the server on this port of loopback."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
