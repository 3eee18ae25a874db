"""GET and PUT of one object without boto3's machinery, which costs more CPU than all else in a job.

botocore still signs and sends; what is left out are its event handlers, parameter checks and answer
parsers. Whatever is not a plain success or a plain "not there" is for boto3 to ask again: it knows
of redirects and retries, and its errors are the ones that people look up.
"""

import socket
from typing import Any
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    BotoCoreError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
)
from botocore.httpsession import URLLib3Session

from storage.errors import StorageDown


class Direct:
    """One bucket of one endpoint, path style; safe for threads."""

    def __init__(
        self,
        url: str,
        bucket: str,
        *,
        credentials: Any,
        region: str,
        timeout_s: float,
        verify: str | bool,
    ) -> None:
        self._base = f"{url}/{bucket}/"
        self._credentials, self._region = credentials, region
        # The stubs know less than the code.
        timeout: Any = (min(timeout_s, 2), timeout_s)
        trusted: Any = verify
        # Head and body leave in two segments: with Nagle's algorithm the second waits for 40 ms.
        no_delay: Any = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        self._session = URLLib3Session(
            verify=trusted, timeout=timeout, max_pool_connections=32, socket_options=no_delay
        )

    def get(self, key: str, etag: str = "") -> tuple[bytes, str] | None:
        """(bytes, ETag), or None when boto3 should ask. FileNotFoundError: gone or changed."""
        answer = self._send("GET", key, {"If-Match": etag} if etag else {})
        return (answer.content, answer.headers["ETag"]) if answer else None

    def put(self, key: str, data: bytes, content_type: str) -> str | None:
        """The ETag, or None when boto3 should try."""
        headers = {"Content-Type": content_type, "Content-Length": str(len(data))}
        answer = self._send("PUT", key, headers, data)
        return str(answer.headers["ETag"]) if answer else None

    def _send(self, method: str, key: str, headers: dict[str, str], data: bytes = b"") -> Any:
        if self._credentials is None:  # none are set: boto3 says so
            return None
        request = AWSRequest(method, self._base + quote(key), headers=headers, data=data)
        try:
            # Frozen here and now: credentials of a role change while a worker runs.
            frozen = self._credentials.get_frozen_credentials()
            S3SigV4Auth(frozen, "s3", self._region).add_auth(request)
            answer = self._session.send(request.prepare())
        except (ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError) as error:
            raise StorageDown(f"S3 did not answer {method} {key}: {error}") from error
        except BotoCoreError:
            return None
        if answer.status_code in (404, 412):
            raise FileNotFoundError(key)
        whole = method == "PUT" or len(answer.content) == int(
            answer.headers.get("Content-Length", -1)
        )
        return answer if answer.status_code == 200 and whole else None
