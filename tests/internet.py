"""A small internet for tests: a name server, and TLS servers that are reached by public addresses.

Only the resolver and the network are doubles: TLS, HTTP and all checks are real.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpcore
import pytest
import trustme

from web.fetching import download, network

PUBLIC = "93.184.215.14"
OTHER_PUBLIC = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Internet:
    """Who is known by which name, and what happened."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {}
        """Host -> its addresses at the first question, at the second one ..., then as the last."""
        self.connected: list[str] = []
        """Addresses that were connected to."""
        self.asked: list[bytes] = []
        """The heads of all requests."""
        self._port = 0
        self._answers: dict[str, Answer] = {}

    def page(self, path: str, answer: Answer) -> None:
        """What all servers answer at a path."""
        self._answers[path] = answer

    async def resolve(self, host: str, port: int) -> list[str]:
        """As network.resolve."""
        answers = self.names.get(host)
        if not answers:
            raise OSError("Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    @asynccontextmanager
    async def running(self, context: ssl.SSLContext | None) -> AsyncIterator[None]:
        """The one server that stands for all public ones."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()

    async def connect(
        self, real: Callable[..., Any], backend: Any, host: str, port: int, *rest: Any
    ) -> Any:
        """Connects to the server here, as if it had that address."""
        self.connected.append(host)
        if host not in (PUBLIC, OTHER_PUBLIC):
            raise httpcore.ConnectError("no server there")
        return await real(backend, "127.0.0.1", self._port, *rest)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head)
            await self._answers[head.split(b" ")[1].decode()](writer)
            await writer.drain()
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            pass


@pytest.fixture
async def internet(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Internet]:
    """A running internet whose servers have certificates for photos.example and www.example."""
    authority = trustme.CA()
    of_servers = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("photos.example", "www.example").configure_cert(of_servers)
    of_clients = ssl.create_default_context()
    authority.configure_trust(of_clients)
    internet, real = Internet(), httpcore.AnyIOBackend.connect_tcp
    monkeypatch.setattr(network, "resolve", internet.resolve)
    monkeypatch.setattr(download, "_tls", lambda: of_clients)
    monkeypatch.setattr(
        httpcore.AnyIOBackend,
        "connect_tcp",
        lambda backend, *arguments: internet.connect(real, backend, *arguments),
    )
    async with internet.running(of_servers):
        yield internet


def says(status: int, body: bytes = b"", *headers: str) -> Answer:
    """An answer that is whole at once."""
    lines = [f"HTTP/1.1 {status} -", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    return answer


def drips(parts: Iterable[bytes], pause_s: float) -> Answer:
    """An answer in parts, with a pause after each."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return answer
