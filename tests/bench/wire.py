"""make bench-wire: what a question to Redis costs the process that asks it, beside other clients.

A hit (GET of a result, 700 bytes) and an update (`snapshots.lua`, a job under way), one at a time
and 64 at a time, on uvloop as in web. Each contender in a process of its own, in turns, all answers
checked; CPU of the whole process, so of a library's own threads too.

Contenders that are not installed are left out. Their Python may be another: with `pip install
coredis valkey-glide redis hiredis uvloop -c constraints.txt` in an environment of its own,
ARGS="--python .../bin/python". An older checkout runs beside this one by ARGS="--old FOLDER".
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent.parent
TURNS = int(os.environ.get("BENCH_TURNS", "5"))
QUESTIONS = int(os.environ.get("BENCH_QUESTIONS", "4000"))
"""Of each kind and turn."""
KEYS = 64
CELLS = [(kind, width) for kind in ("hit", "update") for width in (1, 64)]

Ask = Callable[..., Awaitable[Any]]
"""One command, in words; bytes back."""


async def ours(url: str, stack: AsyncExitStack) -> Ask:
    """The connection that web uses; this tree's or an older one's."""
    sys.path.insert(0, os.environ["BENCH_TREE"])
    from storage.redis import calls

    link = calls.AsyncRedis(url, limit_s=5.0)
    stack.push_async_callback(link.close)
    kinds: Any = {"kinds": (bytes,)} if hasattr(calls, "Kinds") else {}

    def ask(*words: Any) -> Awaitable[Any]:
        return link.do(calls.command(_same, *words, **kinds))

    return ask


async def redis_pool(url: str, stack: AsyncExitStack) -> Ask:
    """redis-py as it is meant: a connection of a pool for each question."""
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(url, protocol=2)
    stack.push_async_callback(client.aclose)
    return client.execute_command


async def redis_pipeline(url: str, stack: AsyncExitStack) -> Ask:
    """redis-py with a pipeline for what is asked in one turn of the loop."""
    import redis.asyncio

    client = redis.asyncio.Redis.from_url(url, protocol=2)
    stack.push_async_callback(client.aclose)
    loop = asyncio.get_running_loop()
    asked: list[tuple[tuple[Any, ...], asyncio.Future[Any]]] = []
    sending: set[asyncio.Task[None]] = set()

    async def send() -> None:
        nonlocal asked
        mine, asked = asked, []
        pipeline = client.pipeline(transaction=False)
        for words, _ in mine:
            pipeline.execute_command(*words)
        for (_, answer), value in zip(mine, await pipeline.execute(), strict=True):
            answer.set_result(value)

    def start() -> None:
        task = asyncio.create_task(send())
        sending.add(task)
        task.add_done_callback(sending.discard)

    def ask(*words: Any) -> Awaitable[Any]:
        if not asked:
            loop.call_soon(start)
        asked.append((words, loop.create_future()))
        return asked[-1][1]

    return ask


async def coredis(url: str, stack: AsyncExitStack) -> Ask:
    """coredis: pipelines by itself what is asked at a time."""
    import coredis as library

    client: Any = library.Redis.from_url(url, decode_responses=False, max_connections=4)
    await stack.enter_async_context(client)

    def ask(command: str, *words: Any) -> Awaitable[Any]:
        if command == "GET":
            return client.get(*words)
        sha, count, *rest = words
        return client.evalsha(sha, rest[:count], rest[count:])

    return ask


async def valkey_glide(url: str, stack: AsyncExitStack) -> Ask:
    """valkey-glide: one connection for all, in Rust threads."""
    import glide

    port = int(url.rpartition(":")[2].partition("/")[0])
    at = [glide.NodeAddress("127.0.0.1", port)]
    settings = glide.GlideClientConfiguration(at, request_timeout=10_000)
    client = await glide.GlideClient.create(settings)
    stack.push_async_callback(client.close)

    def ask(command: str, *words: Any) -> Awaitable[Any]:
        if command == "GET":
            return client.get(*words)
        return client.custom_command([command, *map(str, words)])

    return ask


CONTENDERS: dict[str, tuple[Callable[[str, AsyncExitStack], Awaitable[Ask]], str]] = {
    "ours": (ours, "hiredis"),
    "ours, older": (ours, "hiredis"),
    "redis-py, pool": (redis_pool, "redis"),
    "redis-py, pipeline per turn": (redis_pipeline, "redis"),
    "coredis": (coredis, "coredis"),
    "valkey-glide": (valkey_glide, "glide"),
}


def _same(answer: Any) -> Any:
    return answer


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--old", default="", help="an older checkout")
    options.add_argument("--python", default="", help="of an environment with other contenders")
    options.add_argument("--one", default="", help=argparse.SUPPRESS)
    options.add_argument("--url", default="", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.one:
        print(json.dumps(_measured(given.one, given.url)))
    else:
        _all(given.old, given.python)


def _measured(name: str, url: str) -> dict[str, list[float]]:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_cells(name, url))


async def _cells(name: str, url: str) -> dict[str, list[float]]:
    """Cell -> CPU microseconds a question, questions a second."""
    cells = {}
    async with AsyncExitStack() as stack:
        ask = await CONTENDERS[name][0](url, stack)
        for kind, width in CELLS:
            question = _hit if kind == "hit" else _update
            await _round(question, ask, width, QUESTIONS // 10)
            cpu_s, began_s = time.process_time(), time.perf_counter()
            await _round(question, ask, width, QUESTIONS)
            cpu_s, spent_s = time.process_time() - cpu_s, time.perf_counter() - began_s
            cells[f"{kind} {width}"] = [cpu_s / QUESTIONS * 1e6, QUESTIONS / spent_s]
    return cells


async def _round(question: Any, ask: Ask, width: int, questions: int) -> None:
    async def client(number: int) -> None:
        for _ in range(questions // width):
            await question(ask, number % KEYS)

    await asyncio.gather(*(client(number) for number in range(width)))


def _value(number: int) -> str:
    return json.dumps({"number": number, "objects": ["x" * 60] * 10})


async def _hit(ask: Ask, number: int) -> None:
    answer = await ask("GET", f"hit:{number}")
    assert answer == _value(number).encode(), (number, answer)


LOOK = json.loads(os.environ.get("BENCH_LOOK", "[]"))
"""For each job: the words of `snapshots.lua`, and what is in no other job's answer."""


async def _update(ask: Ask, number: int) -> None:
    words, own = LOOK[number]
    answer = await ask("EVALSHA", *words)
    assert own.encode() in answer, (number, answer)


def _all(old: str, python: str) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from stack import Stack
    from table import save, show

    spent: dict[str, list[dict[str, list[float]]]] = {}
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        stack.start_redis("state")
        url = stack.env["PIXELMILL_STATE_URL"]
        look = json.dumps(_prepared(stack.state))
        contenders = dict(_installed(old, python))
        for _ in range(TURNS):
            for name, command in contenders.items():
                tree = old if name == "ours, older" else str(REPOSITORY)
                env = {**os.environ, "BENCH_LOOK": look, "BENCH_TREE": tree}
                env.pop("PYTHONPATH", None)
                run = [command, __file__, "--one", name, "--url", url]
                said = subprocess.run(run, env=env, check=True, capture_output=True, timeout=120)
                spent.setdefault(name, []).append(json.loads(said.stdout.splitlines()[-1]))
    rows, figures = [], {}
    for name, turns in spent.items():
        row: list[object] = [name]
        for kind, width in CELLS:
            cell = [turn[f"{kind} {width}"] for turn in turns]
            cpu_us = statistics.median(turn[0] for turn in cell)
            per_s = statistics.median(turn[1] for turn in cell)
            row.append(f"{cpu_us:.0f} us {per_s:,.0f}/s")
            key = f"{name}_{kind}_{width}".replace(" ", "_").replace(",", "")
            figures |= {f"{key}_cpu_us": round(cpu_us, 1), f"{key}_per_s": round(per_s)}
        rows.append(row)
    show(
        f"CPU a question and questions a second, median of {TURNS} turns of {QUESTIONS}",
        ["client", *(f"{kind}, {width} at a time" for kind, width in CELLS)],
        rows,
    )
    save("wire", figures)


def _installed(old: str, python: str) -> list[tuple[str, str]]:
    """(contender, the Python that has it)."""
    installed = []
    for name, (_, module) in CONTENDERS.items():
        if name == "ours, older" and not old:
            continue
        for candidate in (sys.executable, python):
            has = [candidate, "-c", f"import {module}, uvloop"]
            if candidate and not subprocess.run(has, capture_output=True).returncode:
                installed.append((name, candidate))
                break
        else:
            print(f"{name} is left out: {module} is not installed.")
    return installed


def _prepared(state: Any) -> list[tuple[list[Any], str]]:
    """Results and jobs under way, and how these are looked at."""
    from storage.jobs import claims, snapshots
    from storage.jobs.spec import Spec
    from storage.redis import calls
    from storage.redis.scripts import source

    link = calls.SyncRedis(state)
    prepared = []
    for number in range(KEYS):
        state.set(f"hit:{number}", _value(number))
        job = f"job-{number}-of-the-bench"
        spec = Spec(f"{number:064}", "ada", "noop", {}, ["image"], "upload", "w", "c")
        link.do(claims.claim(job, spec, priority="interactive", job_ttl_s=3600))
        link.do(snapshots.read([job]))
        sha = source("jobs/snapshots")[1]
        words = [
            word.decode() if isinstance(word, bytes) else word
            for word in snapshots.read([job]).words
        ]
        prepared.append(([sha, *words], job))
    return prepared


if __name__ == "__main__":
    main()
