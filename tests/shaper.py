"""A TCP proxy on loopback that is as slow and as far away as a mobile network.

All connections share one link: so many bits a second in each direction, and half a round trip of
delay on each way. A new connection costs one round trip, as its handshake would.
"""

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Self

CHUNK = 16 * 1024


@dataclass
class Direction:
    """One way of the link: when it is free again, and how many bytes have passed."""

    bits_per_s: float
    free_at: float = 0.0
    bytes: int = 0

    def departure(self, size: int) -> float:
        """When the last bit of so many bytes, which are here now, has been sent."""
        self.bytes += size
        self.free_at = max(self.free_at, monotonic()) + size * 8 / self.bits_per_s
        return self.free_at


@dataclass
class Shaper:
    """In front of the server on port `to`; a thread of its own while its context is open."""

    to: int
    bits_per_s: float = 12e6
    round_trip_s: float = 0.085
    port: int = 0
    up: Direction = field(init=False)
    down: Direction = field(init=False)

    def __post_init__(self) -> None:
        self.up, self.down = Direction(self.bits_per_s), Direction(self.bits_per_s)

    def __enter__(self) -> Self:
        self._loop, ready = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await self._stop.wait()
        server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.round_trip_s)
        there, onward = await asyncio.open_connection("127.0.0.1", self.to)
        with suppress(asyncio.CancelledError):  # the end of the context
            await asyncio.gather(
                self._pass(reader, onward, self.up), self._pass(there, writer, self.down)
            )

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, way: Direction
    ) -> None:
        """Reading waits for the link, so that a sender sees how slow it is."""
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)
        delivering = asyncio.create_task(_deliver(late, sink))
        with suppress(OSError):
            while data := await source.read(CHUNK):
                departs = way.departure(len(data))
                await late.put((departs + self.round_trip_s / 2, data))
                await asyncio.sleep(max(departs - monotonic(), 0))
        await late.put((0, b""))
        await delivering


async def _deliver(late: "asyncio.Queue[tuple[float, bytes]]", sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while (item := await late.get())[1]:
            await asyncio.sleep(max(item[0] - monotonic(), 0))
            sink.write(item[1])
            await sink.drain()
    while not late.empty():
        late.get_nowait()
    sink.close()
