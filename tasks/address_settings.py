"""Where processes listen, and by which names people and other hosts reach them: a part of
tasks/settings.py."""

from functools import cached_property
from urllib.parse import urlsplit

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def server_of(url: str) -> str:
    """host:port of a Redis, without its password; empty for an empty URL."""
    parts = urlsplit(url)
    return f"{parts.hostname or parts.path}:{parts.port or 6379}" if url else ""


class AddressSettings(BaseSettings):
    """Part of Settings."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address the web process listens on."""
    port: int = Field(7860, ge=0, le=65535)
    """Port the web process listens on."""
    public_url: str = ""
    """Address of the page as users type it, for example https://mill.example.com, or with a path,
    https://example.com/mill. Requests for its host are accepted, and https makes cookies Secure.
    Empty: only loopback names are accepted."""
    flower_url: str = Field("", pattern=r"^(https?://\S+)?$")
    """Address of Flower, which the system page links. `pixelmill up` sets it to that of its own."""
    grafana_url: str = Field("", pattern=r"^(https?://\S+)?$")
    """Address of a dashboard of your metrics, which the system page links."""
    worker_metrics: str = "127.0.0.1:0"
    """host:port at which a worker serves its metrics to Prometheus. Port 0: any free port, which
    the catalogue names (`/metrics/workers` lists all of them). Empty: no metrics."""
    advertise_host: str = Field("", pattern=r"^[A-Za-z0-9._:-]{0,253}$")
    """Name or address of this host as other hosts reach it, which workers announce with the port of
    their metrics. Empty: where `worker_metrics` names no host (0.0.0.0), the address from which
    this host reaches the state Redis."""

    @cached_property
    def sub_path(self) -> str:
        """The path of `public_url`: empty, or for example `/mill`."""
        return urlsplit(self.public_url).path.rstrip("/")

    @cached_property
    def public_origin(self) -> str:
        """`public_url` without its path, in lower case."""
        return self.public_url.rstrip("/").removesuffix(self.sub_path).lower()
