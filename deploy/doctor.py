"""`pixelmill doctor`: one line a check, each ok, warn or fail, with what to do about it."""

import json
import os
import platform
import shutil
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import redis
from pydantic import ValidationError
from rich.console import Console

from deploy.probes import redis_client
from storage import catalogue, keys
from storage.errors import StorageDown
from storage.redis.calls import SyncRedis
from storage.s3.objects import FolderObjects, Objects, S3Objects
from tasks.settings import Settings, settings
from web.jobs.room import STATE_SHARE
from workers.pinning import gpus

Level = Literal["ok", "warn", "fail"]
GIB, MIB = 2**30, 2**20
ALL_S = 3.0
"""What has not answered by then has failed."""
ANSWER_S = 1.0
PROBE_S = 20.0
"""A no-op job has so long to get through all stages; the answer comes a little later at most."""
PINGS = 20
PACKAGES = ("pixelmill", "celery", "redis", "torch", "gradio", "opencv-python-headless")
CLIENT_NAMES = frozenset({"PIXELMILL_URL", "PIXELMILL_API_KEY"})
"""Read by `pixelmill run` and `models`, no settings of the server."""
COLOURS: Mapping[Level, str] = {"ok": "green", "warn": "yellow", "fail": "red"}


@dataclass(frozen=True)
class Line:
    """What one check found."""

    level: Level
    what: str
    value: str
    hint: str = ""


Check = Callable[[Settings], Iterable[Line]]


def main(*, as_json: bool, deep: bool = True) -> int:
    """Run every check and print its lines; exit code 1 if one failed.

    `deep`: also send a no-op job through every model, which may take PROBE_S.
    """
    lines = examine()
    if deep and not any(line.what == "settings" and line.level == "fail" for line in lines):
        lines += probes(settings())
    if as_json:
        print(json.dumps([asdict(line) for line in lines], indent=1))
    else:
        _show(lines)
    return 1 if any(line.level == "fail" for line in lines) else 0


def examine() -> list[Line]:
    """The lines of all checks, in order, within ALL_S seconds whatever is down."""
    try:
        now = settings()
    except ValidationError as error:
        return [_wrong_settings(error)]
    return _together(CHECKS, now)


def versions(now: Settings) -> Iterable[Line]:
    """What is installed; nothing is imported for it."""
    found, missing = [f"python {platform.python_version()}"], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    yield Line("ok", "versions", ", ".join(found))
    if missing:
        yield Line("fail", "missing", ", ".join(missing), "Install again: `make up`.")


def sources(now: Settings) -> Iterable[Line]:
    """Where settings come from, and names that nothing reads."""
    given = {name for name in os.environ if name.startswith("PIXELMILL_")}
    files = [name for name in (".env", "var/env") if Path(name).is_file()]
    value = f"environment ({len(given)} given)" + "".join(f", {name}" for name in files)
    known = {f"PIXELMILL_{name.upper()}" for name in Settings.model_fields} | CLIENT_NAMES
    if unknown := sorted(given - known):
        hint = f"Nothing reads {', '.join(unknown)}; deploy/.env.example has all names."
        yield Line("warn", "settings", value, hint)
    else:
        yield Line("ok", "settings", value)
    if len(now.secret) < 16:
        hint = "Set PIXELMILL_SECRET, the same on all hosts; `pixelmill up` makes one."
        yield Line("warn", "secret", f"{len(now.secret)} characters; expected 16 or more", hint)


def device(now: Settings) -> Iterable[Line]:
    """The GPUs, by NVIDIA's own library."""
    cards = gpus()
    if not cards and now.device == "cuda":
        hint = "Install NVIDIA's driver, pass the GPU into the container, or PIXELMILL_DEVICE=auto."
        yield Line("fail", "device", "PIXELMILL_DEVICE=cuda, but no NVIDIA GPU found", hint)
    elif not cards:
        yield Line("ok", "device", "no NVIDIA GPU found; inference runs on the CPU")
    for card in cards:
        used, free, total = (part / GIB for part in (card.used, card.free, card.total))
        memory = f"{used:.1f} GiB used, {free:.1f} free of {total:.1f}"
        yield Line("ok", f"GPU {card.number}", f"{card.name}, {memory}")
    if cards and now.device == "cpu":
        yield Line("ok", "device", "PIXELMILL_DEVICE=cpu: the GPU is not used")
    elif cards and version("torch").endswith("+cpu"):
        level: Level = "fail" if now.device == "cuda" else "warn"
        yield Line(level, "torch", "a CPU build beside a GPU", "Install a CUDA build of torch.")


def state_redis(now: Settings) -> Iterable[Line]:
    """The Redis of queue and jobs, whether it keeps what it is told, and its clock."""
    client = _client(now.state_url)
    yield _round_trip(client, "state Redis", now.state_url)
    info = client.info()
    yield _expected(
        "state keeps data",
        {"appendonly yes": bool(info.get("aof_enabled")),
         "maxmemory-policy noeviction": info.get("maxmemory_policy") == "noeviction"},
        "Without it a restart, or full memory, loses jobs.",
    )  # fmt: skip
    yield _state_writes(info)
    yield _clock(client)


def _state_writes(info: Mapping[str, Any]) -> Line:
    """Whether it takes writes, and how full its memory is."""
    if info.get("aof_last_write_status", "ok") != "ok":
        hint = "Its disk is full or broken: free some space; it goes on by itself."
        return Line("fail", "state writes", "the last write to its append-only file failed", hint)
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not most:
        hint = "Set it, so that new work is refused before the machine's memory is full."
        return Line("warn", "state memory", f"{used / MIB:.0f} MiB used, maxmemory is 0", hint)
    value = f"{used / MIB:.0f} MiB used of {most / MIB:.0f}"
    if used > most * STATE_SHARE:
        hint = "New work is refused. Wait for jobs to end, or give it more memory."
        return Line("fail", "state memory", value, hint)
    return Line("ok", "state memory", value)


def cache_redis(now: Settings) -> Iterable[Line]:
    """The Redis of results, and whether it makes room by itself."""
    client = _client(now.cache_url)
    yield _round_trip(client, "cache Redis", now.cache_url)
    info = client.info("memory")
    yield _expected(
        "cache makes room",
        {"maxmemory-policy allkeys-lru": str(info.get("maxmemory_policy")).startswith("allkeys"),
         "maxmemory above 0": bool(info.get("maxmemory"))},
        "Without it the cache grows until the machine is full.",
    )  # fmt: skip


def scratch_redis(now: Settings) -> Iterable[Line]:
    """The Redis of arrays between stages, where there is one."""
    if now.scratch_url:
        yield _round_trip(_client(now.scratch_url), "scratch Redis", now.scratch_url)


def s3(now: Settings) -> Iterable[Line]:
    """Put, get and delete a small object."""
    store, key, data = _objects(now), keys.upload_object("doctor", token_hex(16)), token_hex(512)
    where = f"{now.s3_url}, bucket {now.s3_bucket}"
    began = time.perf_counter()
    try:
        store.put(key, data.encode(), "application/octet-stream")
        is_same = store.get(key) == data.encode()
        store.delete(key)
    except FileNotFoundError:
        hint = "Make the bucket: `pixelmill init`."
        yield Line("fail", "S3", f"{where}: there is no such bucket", hint)
        return
    except StorageDown as error:
        hint = "Check PIXELMILL_S3_URL, _KEY and _SECRET; `pixelmill up` starts an S3."
        yield Line("fail", "S3", str(error), hint)
        return
    ms = (time.perf_counter() - began) * 1000
    if is_same:
        yield Line("ok", "S3", f"{ms:.1f} ms to put, get and delete ({where})")
    else:
        yield Line("fail", "S3", f"{where}: gave back other bytes than it was given")


def disk(now: Settings) -> Iterable[Line]:
    """Room for data, weights and logs."""
    folder = now.var_dir.resolve()
    while not folder.exists():
        folder = folder.parent
    hint = "Free some space, or set PIXELMILL_VAR_DIR to another disk."
    floor = int(now.min_free_mib * MIB)
    hint += f" New work is refused below {now.min_free_mib:g} MiB (PIXELMILL_MIN_FREE_MIB)."
    yield _room("disk", folder, warn=5 * GIB, fail=max(floor, GIB // 2), hint=hint)


def shared_memory(now: Settings) -> Iterable[Line]:
    """Room for arrays between stages."""
    if now.scratch_url:
        return
    folder = now.scratch_dir
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        hint = (
            "Set PIXELMILL_SCRATCH_DIR to a folder that can be written to, in memory if possible."
        )
        yield Line("fail", str(folder), "cannot be written to", hint)
        return
    hint = "Give it more (docker: --shm-size=1g), or set PIXELMILL_SCRATCH_DIR."
    yield _room(str(folder), folder, warn=256 * MIB, fail=16 * MIB, hint=hint)


def workers(now: Settings) -> Iterable[Line]:
    """Who has announced itself, and what each model takes."""
    from tasks.queues import gpu_queue  # here: it reads the settings, which may be wrong

    try:
        seen = SyncRedis(_client(now.state_url), "the state Redis").do(catalogue.read())
    except StorageDown:
        yield Line("warn", "workers", "not known while the state Redis is away")
        return
    kinds = Counter(str(worker.get("kind", "other")) for worker in seen.workers)
    value = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    missing = [kind for kind in ("cpu", "gpu") if not kinds[kind]]
    hint = f"Start one: `pixelmill worker {missing[0]}`." if missing else ""
    yield Line("warn" if missing else "ok", "workers", value or "none", hint)
    yield from _other_versions(seen.workers)
    yield from _sandboxes(seen.workers)
    for worker in seen.workers:
        if late := worker.get("late"):
            name = f"{worker.get('kind')} worker {worker.get('pid')} on {worker.get('host')}"
            yield Line("fail", name, "; ".join(late), "It ends by itself, to be started again.")
    for name, card in seen.models.items():
        yield _model(name, card, is_live=seen.is_live(gpu_queue(name)))


def pages(now: Settings) -> Iterable[Line]:
    """Page and Flower, if `pixelmill up` runs here."""
    run = _run(now)
    log = f"See {now.var_dir / 'logs'}, or start again: `pixelmill up`."
    if run.get("url"):
        yield _healthy(f"{run['url']}/healthz", log)
    for name, (times, reason) in run.get("replaced", {}).items():
        yield Line("warn", name, f"ran without working and was replaced {times} times: {reason}",
                   log)  # fmt: skip
    if run.get("flower_url"):
        yield _answers("Flower", run["flower_url"], "warn", log)


def probes(now: Settings) -> list[Line]:
    """Whether a no-op job gets through all stages of each model, if the server is known."""
    run = _run(now)
    url = os.environ.get("PIXELMILL_URL") or run.get("url")
    own_key = run.get("api_key") if url == run.get("url") else None
    key = os.environ.get("PIXELMILL_API_KEY") or own_key
    if not url or not key:
        return []
    try:
        answer = httpx.get(
            f"{str(url).rstrip('/')}/readyz", params={"deep": 1, "limit_s": PROBE_S},
            headers={"Authorization": f"Bearer {key}"}, timeout=PROBE_S + 10, trust_env=False,
        )  # fmt: skip
        return _probed(answer)
    except (httpx.HTTPError, ValueError) as error:
        reason = str(error) or type(error).__name__
        return [Line("fail", "no-op job", f"{url} does not answer: {reason}", "See its log.")]


def _probed(answer: httpx.Response) -> list[Line]:
    body = answer.json()
    if "probes" not in body:
        hint = "Give the API key of an admin by PIXELMILL_API_KEY, or leave this out: --no-probe."
        return [Line("warn", "no-op job", body.get("error", {}).get("message", "refused"), hint)]
    lines = [Line("fail", "server", reason, "See its log.") for reason in body["down"]]
    return lines + [_passed(model, report) for model, report in body["probes"].items()]


def _passed(model: str, report: Mapping[str, Any]) -> Line:
    steps = ", ".join(f"{name} {ms:.0f} ms" for name, ms in report["ms"].items())
    if report["ok"]:
        return Line("ok", f"no-op job {model}", steps)
    value = f"stuck: {report['stuck']} ({report['reason']}); done so far: {steps or 'nothing'}"
    return Line("fail", f"no-op job {model}", value, "See the log of the process that is stuck.")


def _run(now: Settings) -> dict[str, Any]:
    """What `pixelmill up` says of itself; nothing if it does not run here."""
    try:
        return dict(json.loads((now.var_dir / "run.json").read_text()))
    except (OSError, ValueError, TypeError):
        return {}


CHECKS: tuple[Check, ...] = (
    versions, sources, device, state_redis, cache_redis, scratch_redis, s3, disk, shared_memory,
    workers, pages,
)  # fmt: skip


def _together(checks: Sequence[Check], now: Settings) -> list[Line]:
    """Each check on a thread of its own: one that hangs or breaks holds up no other."""
    found: list[list[Line]] = [[] for _ in checks]
    threads = [
        threading.Thread(target=_guarded, args=(check, now, lines), daemon=True)
        for check, lines in zip(checks, found, strict=True)
    ]
    end = time.monotonic() + ALL_S
    for thread in threads:
        thread.start()
    for thread, check, lines in zip(threads, checks, found, strict=True):
        thread.join(max(end - time.monotonic(), 0))
        if thread.is_alive():
            lines.append(Line("fail", _name(check), f"no answer within {ALL_S:g} s"))
    return [line for lines in found for line in lines]


def _guarded(check: Check, now: Settings, lines: list[Line]) -> None:
    try:
        for line in check(now):
            lines.append(line)
    except redis.RedisError as error:
        hint = "Check its address in the settings; `pixelmill up` starts both."
        lines.append(Line("fail", _name(check), str(error) or type(error).__name__, hint))
    except Exception as error:  # a check that breaks is a finding, and stops no other
        lines.append(Line("fail", _name(check), f"{type(error).__name__}: {error}"))


def _name(check: Check) -> str:
    name = getattr(check, "__name__", "check")
    return {"s3": "S3"}.get(name) or name.replace("_redis", " Redis").replace("_", " ")


def _client(url: str) -> "redis.Redis":
    return redis_client(url, ANSWER_S)


def _round_trip(client: "redis.Redis", what: str, url: str) -> Line:
    taken = []
    for _ in range(PINGS + 1):
        began = time.perf_counter()
        client.time()  # PING is refused while the last write to its disk has failed
        taken.append((time.perf_counter() - began) * 1000)
    at = urlsplit(url)  # without the password
    ms = statistics.median(taken[1:])  # the first one connects
    where = f"{at.hostname or at.path}:{at.port or 6379}"
    hint = "Jobs make many trips; put Redis nearer." if ms > 5 else ""
    return Line("warn" if ms > 5 else "ok", what, f"{ms:.2f} ms ({where})", hint)


def _expected(what: str, facts: Mapping[str, bool], why: str) -> Line:
    wrong = [fact for fact, is_so in facts.items() if not is_so]
    if wrong:
        return Line("warn", what, f"expected {', '.join(wrong)}", f"{why} Set it on the server.")
    return Line("ok", what, ", ".join(facts))


def _clock(client: "redis.Redis") -> Line:
    before = time.time()
    seconds, microseconds = client.time()
    here = (before + time.time()) / 2
    away_s = abs(seconds + microseconds / 1e6 - here)
    level: Level = "fail" if away_s > 30 else "warn" if away_s > 1 else "ok"
    hint = "" if level == "ok" else "Set both clocks by NTP; signed addresses depend on it."
    return Line(level, "clock", f"{away_s * 1000:.1f} ms from that of Redis", hint)


def _objects(now: Settings) -> Objects:
    url = urlsplit(now.s3_url)
    if url.scheme == "file":
        return FolderObjects(Path(url.path))
    return S3Objects(
        now.s3_url, key=now.s3_key, secret=now.s3_secret, bucket=now.s3_bucket,
        region=now.s3_region, timeout_s=ANSWER_S,
    )  # fmt: skip


def _room(what: str, folder: Path, *, warn: int, fail: int, hint: str) -> Line:
    free = shutil.disk_usage(folder).free
    level: Level = "fail" if free < fail else "warn" if free < warn else "ok"
    return Line(
        level, what, f"{free / GIB:.1f} GiB free in {folder}", "" if level == "ok" else hint
    )


def _other_versions(seen: Iterable[Mapping[str, Any]]) -> Iterable[Line]:
    own = version("pixelmill")
    theirs = {str(worker.get("versions", {}).get("pixelmill", own)) for worker in seen}
    if others := sorted(theirs - {own}):
        value = f"pixelmill {', '.join(others)} beside {own} here"
        yield Line("warn", "worker versions", value, "Bring all hosts to one version.")


def _sandboxes(seen: Iterable[Mapping[str, Any]]) -> Iterable[Line]:
    """What confines the processes that decode uploads, as each kind of cpu worker has it."""
    found = {json.dumps(worker["sandbox"]) for worker in seen if "sandbox" in worker}
    for layers in map(json.loads, sorted(found)):
        value = ", ".join(f"{layer} {state}" for layer, state in layers.items())
        if layers.get("seccomp") == "on":
            yield Line("ok", "sandbox", value)
        else:
            hint = (
                "Let the container use seccomp; limits of memory, time and files hold without it."
            )
            yield Line("warn", "sandbox", value, hint)


def _model(name: str, card: Mapping[str, Any], *, is_live: bool) -> Line:
    cost = card["cost_ms"]
    value = f"{cost['a'] + cost['b']:.1f} ms per image on {card['device']}"
    if is_live:
        return Line("ok", f"model {name}", value)
    return Line(
        "warn", f"model {name}", f"no live worker ({value})", "Start `pixelmill worker gpu`."
    )


def _answers(what: str, url: str, otherwise: Level, hint: str) -> Line:
    try:
        httpx.get(url, timeout=ANSWER_S, trust_env=False)
    except httpx.HTTPError as error:
        return Line(otherwise, what, f"{url} does not answer: {error}", hint)
    return Line("ok", what, f"answers at {url}")


def _healthy(url: str, hint: str) -> Line:
    try:
        answer = httpx.get(url, timeout=ANSWER_S, trust_env=False)
    except httpx.HTTPError as error:
        return Line("fail", "page", f"{url} does not answer: {error}", hint)
    if answer.status_code != 200:
        return Line("fail", "page", f"{url} answers {answer.status_code}: {answer.text}", hint)
    return Line("ok", "page", f"answers at {url}")


def _wrong_settings(error: ValidationError) -> Line:
    found = error.errors(include_input=False)
    value = "; ".join(f"PIXELMILL_{str(e['loc'][0]).upper()}: {e['msg']}" for e in found)
    return Line("fail", "settings", value, "deploy/.env.example has all names and their form.")


def _show(lines: Sequence[Line]) -> None:
    console = Console(highlight=False, markup=False, soft_wrap=True, file=sys.stdout)
    width = max(len(line.what) for line in lines)
    for line in lines:
        console.print(f"{line.level:5}", style=COLOURS[line.level], end="")
        console.print(f"{line.what:{width}}  {line.value}")
        if line.hint:
            console.print(f"{'':5}{'':{width}}  -> {line.hint}", style="dim")
    counts = Counter(line.level for line in lines)
    console.print(", ".join(f"{counts[level]} {level}" for level in ("ok", "warn", "fail")))
