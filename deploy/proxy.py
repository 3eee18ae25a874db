"""`pixelmill proxy`: the configuration of nginx or haproxy in front of the web processes.

All that it has in common with Pixelmill (names, limits, the bucket, error messages, the headers of
pictures) comes from the settings and the code, so that both go by the same.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tasks.errors import BadInput, JobError, Unavailable
from tasks.settings import MIB, Settings
from web.api.schemas import MOST_WAIT_S
from web.connections.refusals import too_many_connections
from web.errors import error_response
from web.live.sse import PING_S
from web.middleware.security import security_headers

Kind = Literal["nginx", "haproxy"]
TEMPLATES: Mapping[Kind, str] = {
    "nginx": "nginx/nginx.conf.template",
    "haproxy": "haproxy/haproxy.cfg.template",
}
DOWN = Unavailable("the server did not answer", hint="Try again in a few seconds.")
_MARGIN_S = 30
"""An answer to a request that waits for its job takes at most so much longer than that, and than
fetching a photo by its address."""
_OFTEN_S = 60
"""Few wait for longer than this: what is left unanswered for longer is noticed sooner for them."""
SEND_S = 15
"""Seconds after which a web process that takes nothing of a body counts as hanging."""
READ_S = 5
"""Seconds after which a web process that leaves a GET unanswered counts as hanging; twice as many
for the page, as one that has just started still has to make it. After three times as many none is
asked any more."""
_BASE64 = 4 / 3
"""How much longer a picture is in JSON."""
_PARAMETERS_BYTES = MIB
_KEEPALIVE_SHARE = 0.8
"""A connection to a web process is closed after this part of the time after which it would be."""


@dataclass(frozen=True)
class Proxy:
    """Where the load balancer listens, and what is around it."""

    web: Sequence[str]
    """host:port of each web process."""
    certificate: str
    """Path of the PEM file; for haproxy it also has the key."""
    key: str
    """Path of the key's PEM file (nginx)."""
    listen: str = "443"
    """Port, or address:port."""
    http_listen: str = "80"
    """The same of the server that redirects to https."""
    behind: Sequence[str] = ()
    """Addresses or networks of other proxies in front, whose X-Forwarded-For counts."""
    run_dir: str = "/run/pixelmill-nginx"
    """Folder for nginx's own files."""


def render(kind: Kind, proxy: Proxy, settings: Settings) -> str:
    """The whole configuration file. Raises BadInput where the settings do not fit several hosts."""
    template = (Path(__file__).parent / TEMPLATES[kind]).read_text()
    values = _shared(proxy, settings) | (_nginx if kind == "nginx" else _haproxy)(proxy, settings)

    def fill(match: "re.Match[str]") -> str:
        lines = values[match[2]].splitlines() or [""]
        return match[1] + f"\n{' ' * (len(match[1]))}".join(lines) if match[1] else lines[0]

    filled = re.sub(r"(?m)((?:^ +)?)\$\{([A-Z0-9_]+)\}", fill, template)
    return re.sub(r"(?m)^ +\n", "", filled)  # a line of a list that is empty


def _shared(proxy: Proxy, settings: Settings) -> dict[str, str]:
    s3, public = urlsplit(settings.s3_url), urlsplit(settings.public_url)
    if s3.scheme not in ("http", "https"):
        raise BadInput(
            f"objects are in the folder {s3.path}, which serves one host alone",
            hint="Set PIXELMILL_S3_URL to an S3 server that all hosts reach.",
        )
    if public.scheme != "https":
        raise BadInput(
            f"PIXELMILL_PUBLIC_URL is {settings.public_url or 'empty'}, expected https://...",
            hint="Set it to the address that people type, for example https://mill.example.com.",
        )
    limit = f"{settings.max_upload_mib:g} MiB"
    too_large = BadInput(f"larger than {limit}", code="too_large", status=413)
    too_many = too_many_connections("address", settings.max_connections_per_address)
    margin_s = max(_MARGIN_S, math.ceil(settings.fetch_timeout_s + _MARGIN_S / 3))
    return {
        "ROOT": public.path.rstrip("/"),
        "BUCKET": settings.s3_bucket,
        "SOON_S": str(margin_s),
        "LATER_S": str(_OFTEN_S + margin_s),
        "LAST_S": str(MOST_WAIT_S + margin_s),
        "SEND_S": str(SEND_S),
        "READ_S": str(READ_S),
        "PAGE_S": str(2 * READ_S),
        "TRIES_S": str(3 * READ_S),
        "STREAM_S": f"{3 * PING_S:.0f}",
        "LISTEN": proxy.listen,
        "HTTP_LISTEN": proxy.http_listen,
        "S3_SERVER": f"{s3.hostname}:{s3.port or (443 if s3.scheme == 'https' else 80)}",
        "MAX_UPLOAD": str(math.ceil(settings.max_upload_mib * MIB)),
        "MAX_BODY": str(math.ceil(settings.max_upload_mib * MIB * _BASE64) + _PARAMETERS_BYTES),
        "TOO_LARGE": _body(too_large),
        "TOO_MANY": _body(too_many),
        "UNAVAILABLE": _body(DOWN),
    }


def _nginx(proxy: Proxy, settings: Settings) -> dict[str, str]:
    public = urlsplit(settings.public_url)
    origin = f"{public.scheme}://{public.netloc}"
    servers = [f"server {address} max_fails=1 fail_timeout=2s;" for address in proxy.web]
    any_servers = [f"server {address} max_fails=0;" for address in proxy.web]
    trusted = [f"set_real_ip_from {address};" for address in proxy.behind]
    real_ip = [*trusted, "real_ip_header X-Forwarded-For;", "real_ip_recursive on;"]
    cleared = [f'proxy_set_header {name} "";' for name in _user_headers(proxy, settings)]
    objects = [f'add_header {k} "{v}" always;' for k, v in _object_headers()]
    return {
        "RUN_DIR": proxy.run_dir,
        "WEB_SERVERS": "\n".join(servers),
        "ANY_SERVERS": "\n".join(any_servers),
        "S3_SCHEME": urlsplit(settings.s3_url).scheme,
        "SERVER_NAME": public.hostname or "_",
        "HTTPS_PORT": f":{public.port}" if public.port else "",
        "ORIGIN": re.escape(origin),
        "CERTIFICATE": proxy.certificate,
        "CERTIFICATE_KEY": proxy.key,
        "KEEPALIVE_S": f"{settings.idle_timeout_s * _KEEPALIVE_SHARE:.0f}",
        "RATE_WINDOW_S": f"{settings.rate_window_s:.0f}",
        "CONNECTIONS": str(settings.max_connections_per_address),
        "REAL_IP": "\n".join(real_ip if trusted else []),
        "USER_HEADERS": "\n".join(cleared),
        "OBJECT_HEADERS": "\n".join(objects),
    }


def _haproxy(proxy: Proxy, settings: Settings) -> dict[str, str]:
    public = urlsplit(settings.public_url)
    names = [f"web{number} {address} check" for number, address in enumerate(proxy.web, 1)]
    behind = " ".join(proxy.behind)
    real_ip = f"http-request set-src hdr_ip(x-forwarded-for,-1) if {{ src {behind} }}"
    cleared = [f"http-request del-header {name}" for name in _user_headers(proxy, settings)]
    objects = [f'http-response set-header {k} "{v}"' for k, v in _object_headers()]
    answer = f"content-type application/json hdr Retry-After 2 string '{_body(DOWN)}'"
    errors = [f"http-error status {status} {answer}" for status in (502, 503, 504)]
    health = ["option httpchk", "http-check send meth GET uri /healthz"]
    listen = {"LISTEN": proxy.listen, "HTTP_LISTEN": proxy.http_listen}
    bind = {name: at if ":" in at else f":{at}" for name, at in listen.items()}
    return {
        **bind,
        "PEM": proxy.certificate,
        "ORIGIN": f"{public.scheme}://{public.netloc}",
        "WEB_SERVERS": "\n".join(f"server {name}" for name in names),
        "PAGE_SERVERS": "\n".join(f"server {name} cookie {name.split()[0]}" for name in names),
        "HEALTH": "\n".join([*health, "http-check expect status 200"]),
        "ERRORS": "\n".join(errors),
        "S3_TLS": f" ssl verify required ca-file {settings.s3_ca_file or '@system-ca'}"
        if settings.s3_url.startswith("https:")
        else "",
        "REAL_IP": real_ip if behind else "",
        "USER_HEADERS": "\n".join(cleared),
        "OBJECT_HEADERS": "\n".join(objects),
    }


def _user_headers(proxy: Proxy, settings: Settings) -> list[str]:
    """Headers that say who somebody is, and that no client may send."""
    if settings.auth != "proxy" or proxy.behind:
        return []  # nobody listens to them, or the proxy in front sets them
    return [settings.proxy_user_header, settings.proxy_groups_header]


def _object_headers() -> list[tuple[str, str]]:
    headers = [(name.decode(), value.decode()) for name, value in security_headers("object")]
    return [*headers, ("cache-control", "private, max-age=300")]


def _body(error: JobError) -> str:
    """An error as JSON between single quotes."""
    return bytes(error_response(error).body).decode().replace("'", "\\u0027")
