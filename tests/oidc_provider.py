"""An OpenID provider in a process of its own: `python oidc_provider.py PORT`.

oidc-provider-mock does all but PKCE. That is added here: a code is exchanged for tokens only by
whoever knows the verifier of the challenge that it was asked for with (RFC 7636, S256).
"""

import base64
import hashlib
import io
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

warnings.simplefilter("ignore")  # of the package, about its own dependencies

import oidc_provider_mock  # noqa: E402
from werkzeug.serving import run_simple  # noqa: E402

Start = Callable[..., Any]


class Pkce:
    """Remembers the challenge of each code, and refuses verifiers that do not fit."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._challenges: dict[str, str] = {}

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        path, query = environ["PATH_INFO"], parse_qs(environ.get("QUERY_STRING", ""))
        if path.endswith("/token"):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            if not self._fits(parse_qs(body.decode())):
                start("400 Bad Request", [("content-type", "application/json")])
                return [b'{"error": "invalid_grant"}']
        if path.endswith("/authorize"):
            if query.get("code_challenge_method") != ["S256"] or not query.get("nonce"):
                start("400 Bad Request", [("content-type", "text/plain")])
                return [b"no PKCE or no nonce"]
            return self._app(environ, self._remembering(start, query["code_challenge"][0]))
        return self._app(environ, start)

    def _fits(self, asked: dict[str, list[str]]) -> bool:
        digest = hashlib.sha256(asked.get("code_verifier", [""])[0].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        return self._challenges.pop(asked.get("code", [""])[0], None) == challenge

    def _remembering(self, start: Start, challenge: str) -> Start:
        def remembering(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            location = dict(headers).get("Location", "")
            for code in parse_qs(urlsplit(location).query).get("code", []):
                self._challenges[code] = challenge
            return start(status, headers, *rest)

        return remembering


if __name__ == "__main__":
    provider = Pkce(oidc_provider_mock.app(require_nonce=True))
    run_simple("127.0.0.1", int(sys.argv[1]), provider, threaded=True)
