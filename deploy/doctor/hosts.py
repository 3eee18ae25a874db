"""Checks of all hosts of an installation, by what their workers say of themselves."""

import socket
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

import redis

from deploy.doctor.finding import ANSWER_S, Finding, Level
from deploy.supervision.probes import impatient_redis
from storage import catalogue
from storage.catalogue import WorkerInfo
from storage.errors import StorageDown
from storage.redis.calls import SyncRedis
from storage.scratch import boot_id
from tasks.settings import Settings, server_of

CLOCK_WARN_MS, CLOCK_FAIL_MS = 1_000, 30_000
_LOOPBACK = ("127.", "localhost:", "[::1]:")


def hosts(settings: Settings) -> Iterable[Finding]:
    """Which hosts have workers, and whether they agree on clocks, versions, scratch and models."""
    state = SyncRedis(impatient_redis(settings.state_url, ANSWER_S), "the state Redis")
    try:
        workers = state.do(catalogue.read()).workers
    except (StorageDown, redis.RedisError):
        return  # another check says so
    if workers:
        yield from compare(workers, settings)


def compare(workers: Sequence[WorkerInfo], settings: Settings) -> Iterable[Finding]:
    """The findings about these workers, as seen from this host."""
    by_host = _by_host(workers)
    yield _seen(by_host)
    yield _clocks(by_host)
    yield from _versions(by_host)
    yield from _scratch(workers, settings)
    yield from _models(workers)
    if len(by_host) > 1:
        yield from _metrics(workers)


def _by_host(workers: Sequence[WorkerInfo]) -> Mapping[str, list[WorkerInfo]]:
    """Workers by the host's name; two hosts of one name have a part of their boot id each."""
    boots: dict[str, set[str]] = {}
    for worker in workers:
        boots.setdefault(worker["host"], set()).add(worker["boot"])
    grouped: dict[str, list[WorkerInfo]] = {}
    for worker in workers:
        is_clear = len(boots[worker["host"]]) == 1
        name = worker["host"] if is_clear else f"{worker['host']} ({worker['boot'][:8]})"
        grouped.setdefault(name, []).append(worker)
    return dict(sorted(grouped.items()))


def _seen(by_host: Mapping[str, Sequence[WorkerInfo]]) -> Finding:
    own = (boot_id(), socket.gethostname())  # containers of one machine share the first
    parts = []
    for name, workers in by_host.items():
        kinds = ", ".join(
            f"{sum(worker['kind'] == kind for worker in workers)} {kind}"
            for kind in sorted({worker["kind"] for worker in workers})
        )
        here = (
            ", this host"
            if any((worker["boot"], worker["host"]) == own for worker in workers)
            else ""
        )
        parts.append(f"{name} ({kinds}{here})")
    return Finding("ok", "hosts", f"{len(by_host)} with workers: {'; '.join(parts)}")


def _clocks(by_host: Mapping[str, Sequence[WorkerInfo]]) -> Finding:
    apart = {
        name: max((worker.get("clock_ms", 0) for worker in workers), key=abs)
        for name, workers in by_host.items()
    }
    worst = max(map(abs, apart.values()))
    level: Level = "fail" if worst > CLOCK_FAIL_MS else "warn" if worst > CLOCK_WARN_MS else "ok"
    if level == "ok":
        return Finding(level, "clocks", f"at most {worst} ms from that of the state Redis")
    late = {name: ms for name, ms in apart.items() if abs(ms) > CLOCK_WARN_MS}
    value = ", ".join(f"{name} {ms / 1000:+.1f} s" for name, ms in late.items())
    hint = "Keep all hosts on NTP: signed addresses and certificates depend on it."
    return Finding(level, "clocks", f"{value} from that of the state Redis", hint)


def _versions(by_host: Mapping[str, Sequence[WorkerInfo]]) -> Iterable[Finding]:
    own = version("pixelmill")
    for name in ("pixelmill", "python", "celery"):
        of_hosts = {
            host: ", ".join(sorted({worker["versions"].get(name, "") for worker in workers}))
            for host, workers in by_host.items()
        }
        there = set(of_hosts.values()) | ({own} if name == "pixelmill" else set())
        if len(there) > 1:
            here = f"; {own} here" if name == "pixelmill" else ""
            value = ", ".join(f"{found} on {host}" for host, found in of_hosts.items())
            hint = "Install one version on all hosts; two may serve side by side while you upgrade."
            yield Finding("warn", f"{name} versions", value + here, hint)


def _scratch(workers: Sequence[WorkerInfo], settings: Settings) -> Iterable[Finding]:
    servers = {worker["scratch_server"] for worker in workers if "scratch_server" in worker}
    folders = {worker["host_id"] for worker in workers if "host_id" in worker}
    own = server_of(settings.scratch_url)
    hint = "Set PIXELMILL_SCRATCH_URL to the same Redis on all hosts."
    if len(servers | {own}) > 1:
        named = ", ".join(sorted(server or "none" for server in servers))
        value = f"workers use {named}; here it is {own or 'none'}"
        yield Finding("fail" if len(servers) > 1 else "warn", "scratch Redis of hosts", value, hint)
    elif len(folders) > 1 and not own:
        value = f"{len(folders)} scratch folders, and no scratch Redis between them"
        yield Finding("fail", "scratch Redis of hosts", value, hint)
    else:
        way = f"through {own}" if len(folders) > 1 else "through one folder in memory"
        yield Finding("ok", "arrays between workers", way)


def _models(workers: Sequence[WorkerInfo]) -> Iterable[Finding]:
    served: dict[str, dict[str, set[str]]] = {}
    for worker in workers:
        for model, found in worker.get("model_versions", {}).items():
            served.setdefault(model, {}).setdefault(found, set()).add(worker["host"])
    apart = {model: versions for model, versions in served.items() if len(versions) > 1}
    for model, versions in sorted(apart.items()):
        value = "; ".join(
            f"{found} on {', '.join(sorted(names))}" for found, names in sorted(versions.items())
        )
        hint = "Weights or code differ: a run is done by the hosts that have what it was asked of."
        yield Finding("warn", f"model {model} of hosts", value, hint)
    of_cpu = list(_code_of_cpu_workers(workers, served))
    yield from of_cpu
    if served and not apart and not of_cpu:
        yield Finding("ok", "models of hosts", "weights and code are the same on all hosts")


def _code_of_cpu_workers(
    workers: Sequence[WorkerInfo], served: Mapping[str, Iterable[str]]
) -> Iterable[Finding]:
    """Models of which a cpu worker has another file than every gpu worker. `served`: model ->
    versions of gpu workers."""
    for model, versions in sorted(served.items()):
        of_gpu = {version.rpartition("-")[2] for version in versions}
        others = {
            f"{code.get(model, 'none')} on {worker['host']}"
            for worker in workers
            if (code := worker.get("model_code")) and code.get(model) not in of_gpu
        }
        if others:
            value = f"{', '.join(sorted(others))}; gpu workers have {', '.join(sorted(of_gpu))}"
            hint = "Copy the same file of the model to all hosts, and start their workers again."
            yield Finding("warn", f"code of {model} of cpu workers", value, hint)


def _metrics(workers: Sequence[WorkerInfo]) -> Iterable[Finding]:
    hidden = {
        worker["host"] for worker in workers if worker.get("metrics", "").startswith(_LOOPBACK)
    }
    if hidden:
        value = f"only their own host reaches those of {', '.join(sorted(hidden))}"
        hint = "Set PIXELMILL_WORKER_METRICS=0.0.0.0:9101 there, if Prometheus is elsewhere."
        yield Finding("warn", "metrics of workers", value, hint)
