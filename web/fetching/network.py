"""Connections for httpcore that lead to checked addresses only.

A name is resolved once. All its addresses are checked, and the connection is made to one of these,
not to the name: a second answer of the name server, with an address of our network, is never asked
for. TLS and the header Host use the name as ever.
"""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import httpcore

from web.fetching.addresses import is_public

CONNECT_S = 6.0
"""Longest time to resolve a name and to connect to one of its addresses."""
MAX_ADDRESSES = 3
"""So many addresses of a name are tried."""
RESOLVER_THREADS = 8
"""A name server that does not answer holds threads; these are used for nothing else."""


class NotPublic(httpcore.ConnectError):
    """One of the host's addresses is not one of the public internet."""


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, as the system's resolver orders them. Raises OSError."""
    loop = asyncio.get_running_loop()
    infos = await loop.run_in_executor(
        _threads(), lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    return [str(info[4][0]) for info in infos]


class CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to public addresses, or to any if `anywhere`."""

    def __init__(self, *, anywhere: bool) -> None:
        self._anywhere = anywhere
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection. Raises httpcore.ConnectError, also for a host that is not public."""
        try:
            async with asyncio.timeout(CONNECT_S):
                addresses = await self._checked(host, port)
                return await self._connect(addresses, port, local_address, socket_options)
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            raise httpcore.ConnectError(str(error)) from error

    async def sleep(self, seconds: float) -> None:
        """For httpcore, between retries."""
        await self._backend.sleep(seconds)

    async def _checked(self, host: str, port: int) -> Sequence[str]:
        addresses = await resolve(host, port)
        if not self._anywhere and not all(is_public(address) for address in addresses):
            raise NotPublic("an address of the host is not public")
        return addresses[:MAX_ADDRESSES]

    async def _connect(
        self,
        addresses: Sequence[str],
        port: int,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        failure: httpcore.NetworkError | httpcore.TimeoutException = httpcore.ConnectError("none")
        for address in addresses:
            try:
                return await self._backend.connect_tcp(
                    address, port, CONNECT_S / MAX_ADDRESSES, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(RESOLVER_THREADS, "resolver")
