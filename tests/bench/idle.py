"""make bench-idle: what 300 clients of each kind that do nothing cost those who work.

Eight clients work: cached answers by `predict`, a result picture, an upload, each of 100 KB.
Beside them 300 connections of one kind, or of all kinds, are held open and opened again when the
server ends them: half of them from 127.0.0.1 (a trusted proxy), half from fifty addresses. The
workers have addresses of their own; or, in a second turn, that same 127.0.0.1. Each round measures
them alone just before; what counts is the ratio of their p95, the median of the rounds. At last:
what CPU time 800 event streams with nothing to say cost the web process.
"""

import itertools
import multiprocessing
import select
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx
from load import Answers, closed_loop, request
from options import parser, setting
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
import slow_clients
from stack import API_KEY, MODEL_PATHS, REPOSITORY, Stack

SECONDS = setting("SECONDS", 4.0, "seconds a row")
ROUNDS = setting("ROUNDS", 3, "turns")
IDLE = setting("IDLE", 300, "idle connections of each kind")
WORKERS = 8
PLACES = 4 * WORKERS
"""Of uploads: no two of those under way have the same one."""
SOURCES = [
    source for number in range(2, 52) for source in ("127.0.0.1", f"127.0.0.{number}")
]  # in turns
WORKERS_FROM = {
    "own addresses": [f"127.0.1.{number}" for number in range(1, WORKERS + 1)],
    "same address": ["127.0.0.1"],
}
STREAMS, STREAMS_S = 800, 20.0
GOAL = 2.0
ALL = "all at once"


def main() -> None:
    parser(__doc__).parse_args()
    figures: dict[str, float] = {}
    rows = []
    env = {"PIXELMILL_MODELS": "toy", "PIXELMILL_MODEL_PATHS": MODEL_PATHS}
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), env).start_all() as stack:
        kinds = slow_clients.kinds(stack)
        work = _work(stack, kinds)
        closed_loop(stack.url, itertools.cycle(work), clients=WORKERS, seconds=1)
        for (where, sources), kind in itertools.product(WORKERS_FROM.items(), KINDS):
            sent = [kinds.sent(name) for name in (slow_clients.KINDS if kind == ALL else (kind,))]
            pairs = [_round(stack, work, sources, sent) for _ in range(ROUNDS)]
            own = _figures(pairs)
            key = f"{where} {kind}".replace(",", "").replace(" ", "_").replace("-", "_")
            figures |= {f"{key}_{name}": value for name, value in own.items()}
            rows.append([kind, where, *own.values()])
            print(kind, where, own, [two.statuses for _, two in pairs], flush=True)
        figures["streams_cpu_share"] = _cpu_share(stack, kinds)
    show(
        f"{WORKERS} clients at work, {IDLE} idle ones of a kind, {ROUNDS} rounds of {SECONDS:g} s",
        ["idle", "workers from", *own],
        rows,
    )
    print()
    for row in rows:
        verdict(f"{row[0]}, {row[1]}: p95 beside p95 alone", row[-2], GOAL)
        verdict(f"{row[0]}, {row[1]}: refused or failed", row[-1], 0)
    verdict(f"CPU share, {STREAMS} streams", figures["streams_cpu_share"], 0.03)
    save("idle", figures)


KINDS = (*slow_clients.KINDS, ALL)


def _cpu_share(stack: Stack, kinds: slow_clients.Kinds) -> float:
    """Of one processor, with streams that have nothing to say."""
    with slow_clients.crowd(stack.url, kinds.sent("events"), STREAMS, SOURCES):
        time.sleep(3)
        before = stack.cpu_s("web")
        time.sleep(STREAMS_S)
        return round((stack.cpu_s("web") - before) / STREAMS_S, 4)


def _work(stack: Stack, kinds: slow_clients.Kinds) -> list[bytes]:
    """Two cached answers, a result picture, an upload; each upload in turn has its own place."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    photo = (REPOSITORY / "examples" / "astronaut.jpg").read_bytes()
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as client:
        for _ in range(2):
            answer = client.post("/api/v1/predict/toy?wait=30", content=photo)
            assert answer.status_code == 200, answer.text
        places = [slow_clients.place(stack, len(slow_clients.PICTURE)) for _ in range(PLACES)]
    typed = {"Content-Type": "image/jpeg"}
    predict = request(f"{stack.url}/api/v1/predict/toy?wait=30", {**headers, **typed}, photo)
    picture = request(kinds.picture, {}, method="GET")
    uploads = [request(place, typed, slow_clients.PICTURE, "PUT") for place in places]
    return [one for upload in uploads for one in (predict, picture, predict, upload)]


def _round(
    stack: Stack, work: list[bytes], sources: list[str], sent: list[bytes]
) -> tuple[Answers, Answers]:
    _calm(stack.url)
    alone = _measure(stack, work, sources)
    with _held(stack.url, sent):
        _calm(stack.url)
        return alone, _measure(stack, work, sources)


def _calm(url: str) -> None:
    """Return once the servers have digested who came: what is measured is that they stay."""

    def is_calm() -> bool:
        answer = httpx.get(f"{url}/readyz", timeout=60)
        return answer.status_code == 200 and answer.elapsed.total_seconds() < 0.1

    slow_clients.wait_until(lambda: all(is_calm() for _ in range(3)), 30)


def _measure(stack: Stack, work: list[bytes], sources: list[str]) -> Answers:
    return closed_loop(
        stack.url, itertools.cycle(work), clients=WORKERS, seconds=SECONDS, sources=sources
    )


def _figures(pairs: list[tuple[Answers, Answers]]) -> dict[str, float]:
    alone, beside = ([pair[which] for pair in pairs] for which in (0, 1))

    def ms(of: list[Answers], share: float) -> float:
        return round(statistics.median(answers.percentile(share) for answers in of), 1)

    ratios = [after.percentile(0.95) / before.percentile(0.95) for before, after in pairs]
    failed = sum(
        count for answers in beside for status, count in answers.statuses.items() if status != 200
    )
    return {
        **{f"alone_p{int(share * 100)}_ms": ms(alone, share) for share in (0.5, 0.95, 0.99)},
        **{f"p{int(share * 100)}_ms": ms(beside, share) for share in (0.5, 0.95, 0.99)},
        "ratio_p95": round(statistics.median(ratios), 2),
        "failed": failed,
    }


@contextmanager
def _held(url: str, sent: list[bytes]) -> Iterator[None]:
    """IDLE connections for each of these, in a process of their own, while the context lasts."""
    context = multiprocessing.get_context("fork")
    ready, over = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(url, sent, ready, over), daemon=True)
    process.start()
    try:
        assert ready.wait(120)
        time.sleep(1)
        yield
    finally:
        over.set()
        process.join(30)
        time.sleep(1)


def _hold(url: str, sent: list[bytes], ready: Event, over: Event) -> None:
    """Open them; then, once a second, open again what the server has ended."""
    poll = select.poll()
    held: dict[int, tuple[socket.socket, bytes]] = {}
    sources = itertools.cycle(SOURCES)

    def add(data: bytes) -> None:
        connection = slow_clients.connect(url, next(sources))
        connection.sendall(data)
        held[connection.fileno()] = connection, data
        poll.register(connection, select.POLLRDHUP)

    for data in sent:
        for _ in range(IDLE):
            add(data)
    ready.set()
    while not over.wait(1):
        for descriptor, _ in poll.poll(0):
            connection, data = held.pop(descriptor)
            poll.unregister(connection)
            connection.close()
            add(data)


if __name__ == "__main__":
    main()
