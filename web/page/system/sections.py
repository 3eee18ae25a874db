"""The parts of the system page about work and workers, each as HTML."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from storage.states import TIMED_STAGES
from tasks.message import PROBE
from tasks.queues import gpu_queue
from web.jobs.system import Group, Minute, ModelCard, ProfileCard, System, WorkerInfo
from web.page.system import charts
from web.page.system.numbers import duration, share, size
from web.page.system.parts import empty, part, plain, table, tile
from web.words import t


def tiles(system: System) -> str:
    """The state of everything in five numbers."""
    groups = _groups(system)
    waiting = [group for group in groups if group.state == "waiting"]
    oldest_ms = max((group.oldest_ms for group in waiting), default=0)
    in_stages = sum(group.count for group in groups if group.state != "waiting")
    hour = total(system.minutes.values())
    ended = hour.done + hour.hits
    workers = system.catalogue.workers
    late = sum(bool(worker.get("late")) for worker in workers)
    return part(
        "tiles",
        tile("Workers", len(workers), f"{late} late" if late else "all on time", is_bad=late > 0),
        tile(
            "Waiting",
            sum(group.count for group in waiting),
            f"the first for {duration(oldest_ms)}" if waiting else "nobody waits",
        ),
        tile("In progress", in_stages, "in a stage now"),
        tile("Images", ended, "in the last hour"),
        tile("From the cache", share(hour.hits, ended), "in the last hour"),
        tile("Failed", hour.failed, "in the last hour", is_bad=hour.failed > 0),
    )


def activity(system: System) -> str:
    """What became of images in each minute of the last hour."""
    rows = list(zip(*system.minutes.values(), strict=True))
    minutes = [total([row]) for row in rows]
    ended = sum(minute.done + minute.hits for minute in minutes)
    picture = charts.columns(
        [
            ("computed", [minute.done for minute in minutes]),
            ("from-cache", [minute.hits for minute in minutes]),
            ("failed", [minute.failed for minute in minutes]),
        ],
        f"Images in each minute of the last hour, {ended} in all",
    )
    axis = '<p class="axis"><span>60 minutes ago</span><span>now</span></p>'
    legend = charts.legend("computed", "from-cache", "failed")
    return part("activity", picture, axis, legend)


def models(system: System) -> str:
    """Each model: what it did in the last hour, and where its time went."""
    rows = [_model(system, card) for card in system.catalogue.models.values()]
    heads = ("Model", "Last hour", "From the cache", "Failed", "Mean time of an image", "Costs")
    return table("models", heads, rows, "No model has been announced yet.")


def queues(system: System) -> str:
    """Who waits where, and what is in the stages."""
    rows = [
        [
            plain(group.model),
            group.priority,
            f"waits for {escape(group.queue)}" if group.state == "waiting" else group.state,
            str(group.count),
            duration(group.oldest_ms) if group.oldest_ms else "",
        ]
        for group in sorted(_groups(system), key=lambda group: (group.model, group.priority))
    ]
    heads = ("Model", "Priority", "State", "Images", "Longest wait")
    return table("queues", heads, rows, "Nothing waits, and nothing is in progress.")


def workers(system: System) -> str:
    """Who does the work, on which device, and with which versions."""
    found = sorted(system.catalogue.workers, key=lambda w: (w["host"], w["kind"], w["pid"]))
    heads = ("Worker", "State", "Device", "Takes", "Did", "Versions")
    return table(
        "workers",
        heads,
        [_worker(worker) for worker in found],
        "No worker is alive. <code>pixelmill worker</code> starts one.",
    )


def failures(system: System) -> str:
    """Why images failed, since the installation was made."""
    counted = {
        (model, name.removeprefix("failed:")): int(count)
        for model, counts in system.stats.totals.items()
        for name, count in counts.items()
        # The same failures are also counted by version, as `failed:code@version`.
        if name.startswith("failed:") and "@" not in name and not model.startswith(PROBE)
    }
    rows = [
        [plain(model), f"<code>{escape(code)}</code>", f"{count:,}"]
        for (model, code), count in sorted(counted.items(), key=lambda item: -item[1])
    ]
    return table("failures", ("Model", "Code", "Images"), rows, "None has failed.")


def total(models: Iterable[Sequence[Minute]]) -> Minute:
    """All of these minutes together."""
    minutes = [minute for of_model in models for minute in of_model]
    return Minute(
        sum(minute.hits for minute in minutes),
        sum(minute.done for minute in minutes),
        sum(minute.failed for minute in minutes),
        sum(minute.cancelled for minute in minutes),
        {stage: sum(minute.stage_ms[stage] for minute in minutes) for stage in TIMED_STAGES},
    )


def _groups(system: System) -> list[Group]:
    """Runs under way; probes are nobody's work."""
    return [group for group in system.stats.groups if not group.model.startswith(PROBE)]


def _model(system: System, card: ModelCard) -> list[str]:
    name = card["name"]
    of_minutes = system.minutes.get(name, [])
    hour = total([of_minutes])
    is_live = system.catalogue.is_live(gpu_queue(name))
    state = '<b class="ok">live</b>' if is_live else '<b class="bad">no worker</b>'
    ended = [minute.done + minute.hits for minute in of_minutes]
    spark = charts.columns([("computed", ended)], f"{sum(ended)} images of {name}", height=24)
    return [
        f"<strong>{escape(card['title'])}</strong><br><small>{plain(name)}, {state}</small>",
        f"{'1 image' if sum(ended) == 1 else f'{sum(ended)} images'}{spark}",
        share(hour.hits, sum(ended)),
        str(hour.failed),
        _times(hour),
        _costs(card),
    ]


def _times(hour: Minute) -> str:
    """A bar of what an image spent in each stage, computed ones alone."""
    runs = hour.done + hour.failed
    if not runs:
        return empty("none was computed")
    means: Mapping[str, float] = {stage: ms / runs for stage, ms in hour.stage_ms.items()}
    words = ", ".join(f"{t(stage)} {duration(ms)}" for stage, ms in means.items())
    drawn = charts.bar([charts.Part(stage, ms) for stage, ms in means.items()], words)
    return f"{duration(sum(means.values()))}{drawn}<small>{words}</small>"


def _costs(card: ModelCard) -> str:
    """What a batch costs the device, by profile."""
    profiles: Mapping[str, ProfileCard | ModelCard] = card["profiles"] or {"": card}
    lines = [f"{escape(name)} {_cost(profile)}".lstrip() for name, profile in profiles.items()]
    device = t("on {device}", device=escape(card["device"]))
    return f"<small>{'<br>'.join(lines)}<br>{device}</small>"


def _cost(profile: ProfileCard | ModelCard) -> str:
    """Of one image alone; the two kinds of cards have the same fields for it."""
    cost, weights = profile["cost_ms"], profile["weights_bytes"]
    parts = [
        duration(cost["a"] + cost["b"]),
        t("{count} at a time", count=profile["max_batch"]),
        t("{size} of weights", size=size(weights)) if weights else "",
    ]
    return ", ".join(filter(None, parts))


def _worker(worker: WorkerInfo) -> list[str]:
    late = [escape(reason) for reason in worker.get("late", ())]
    state = '<b class="bad">late</b>' if late else '<b class="ok">works</b>'
    if worker.get("draining"):
        state = "ends"
    counts = ", ".join(f"{count:,} {t(name)}" for name, count in worker.get("counts", {}).items())
    processes = t("{count} processes", count=worker["processes"]) if "processes" in worker else ""
    kind = t("{kind} worker, process {pid}", kind=worker["kind"], pid=worker["pid"])
    return [
        f"<strong>{plain(worker['host'])}</strong><br><small>{kind}</small>",
        "<br>".join([state, *late]),
        escape(worker["device"]),
        f"<small>{escape(', '.join(worker['queues'])) or t('nothing')}</small>",
        f"<small>{escape(counts or processes)}</small>",
        f"<small>{escape(', '.join(f'{n} {v}' for n, v in worker['versions'].items()))}</small>",
    ]
