"""make bench-hit: what a cached answer costs, at both doors, one client and saturated.

Beside a raw loop in the same run: a bare ASGI app that hashes the body, answers what a Redis has
under that, and writes the job down in another one (cached.py).

JSON door: POST /jobs naming the SHA-256 (about 200 bytes). Predict door: the photo as body, 100 KB.
Zero runs are started meanwhile. Then how much less a hit is than a miss of the matting model.
"""

import hashlib
import io
import itertools
import json
import sys
import tempfile
from pathlib import Path

import httpx
import numpy as np
from load import Answers, closed_loop, request
from options import parser, setting
from PIL import Image
from table import save, show, verdict

sys.path.insert(0, str(Path(__file__).parent.parent))
from stack import API_KEY, Stack, free_port

from storage import keys

SECONDS = setting("SECONDS", 6.0, "seconds a row")
LOOK_UPS = 50
CLIENTS = 16
BODY_BYTES = 100_000
GOAL = 2.0
"""Times the raw loop, which asks both Redis as we do. The other half is for what it leaves out: who
asks and whether they may, what is asked for, whose result it is, and addresses to fetch it by."""


def main() -> None:
    parser(__doc__).parse_args()
    figures: dict[str, float] = {}
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder), {"PIXELMILL_MODELS": "matting"}).start_all() as stack,
    ):
        photo = _photo()
        cold = _misses(stack, photo)
        started = _runs(stack)
        _start_raw(stack, photo)
        for door, process, wanted in (
            ("json", "web", _by_hash(stack, photo)),
            ("raw_json", "raw", _raw(stack, _by_hash(stack, photo))),
            ("predict", "web", _by_body(stack, photo)),
            ("raw_predict", "raw", _raw(stack, _by_body(stack, photo))),
        ):
            for clients in (1, CLIENTS):
                answers, cpu_ms = _measure(stack, process, wanted, clients)
                name = f"{door}_{'one' if clients == 1 else 'saturated'}"
                figures |= {
                    f"{name}_p50_ms": round(answers.p50, 3),
                    f"{name}_p95_ms": round(answers.percentile(0.95), 3),
                    f"{name}_hits_per_s": round(answers.per_s, 1),
                    f"{name}_web_cpu_ms": round(cpu_ms, 3),
                }
                rows.append([door, clients, *(f"{figures[f'{name}_{key}']:.2f}" for key in KEYS)])
        runs = _runs(stack) - started
    figures |= {"miss_p50_ms": cold, "runs_started": runs}
    figures["hit_share_of_miss"] = round(figures["predict_one_p50_ms"] / cold, 5)
    show(
        f"cache hits, {SECONDS:g} s a row (a miss of matting: {cold:.0f} ms)",
        ["door", "clients", "p50 ms", "p95 ms", "hits/s", "web CPU ms/hit"],
        rows,
    )
    print()
    for door in ("json", "predict"):
        for kind in ("one_p50_ms", "saturated_web_cpu_ms"):
            times = round(figures[f"{door}_{kind}"] / figures[f"raw_{door}_{kind}"], 3)
            figures[f"{door}_{kind}_times_raw"] = times
            verdict(f"{door}, {kind.removesuffix('_ms')}, times the raw loop", times, GOAL)
    verdict("runs started by hits", runs, 0)
    verdict("a hit as share of a miss", figures["hit_share_of_miss"], 0.05)
    save("hit", figures)


KEYS = ("p50_ms", "p95_ms", "hits_per_s", "web_cpu_ms")


def _runs(stack: Stack) -> int:
    """Runs that were done so far."""
    return int(stack.state.hget(f"{keys.METRICS_PREFIX}matting:all", "done") or 0)


def _photo() -> bytes:
    """A JPEG of about BODY_BYTES."""
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    picture = Image.fromarray(noise).resize((1024, 768), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=75)
    data = out.getvalue()
    # Padding behind the end of the image is legal and makes the size round.
    return data + bytes(max(BODY_BYTES - len(data), 0))


def _misses(stack: Stack, photo: bytes) -> float:
    """The photo's first time: milliseconds of a request that has to be computed (best of three)."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    spent = []
    with httpx.Client(base_url=stack.url, headers=headers, timeout=120) as client:
        for data in (photo + b"1", photo + b"2", photo):
            answer = client.post("/api/v1/predict/matting?wait=100", content=data)
            assert answer.status_code == 200 and not answer.json()["cached"], answer.text
            spent.append(answer.elapsed.total_seconds() * 1000)
        hit = client.post("/api/v1/predict/matting", content=photo).json()
        assert hit["cached"], hit
    return round(min(spent), 1)


def _by_hash(stack: Stack, photo: bytes) -> bytes:
    body = {"sha256": hashlib.sha256(photo).hexdigest(), "variant": "original", "model": "matting"}
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    return request(f"{stack.url}/api/v1/jobs", headers, json.dumps(body).encode())


def _by_body(stack: Stack, photo: bytes) -> bytes:
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "image/jpeg"}
    return request(f"{stack.url}/api/v1/predict/matting", headers, photo)


def _start_raw(stack: Stack, photo: bytes) -> None:
    """The raw loop, with the answers of our own doors."""
    port, link = free_port(), stack.client("cache")
    stack.ports["raw"] = port
    script = str(Path(__file__).parent / "cached.py")
    urls = (stack.env[f"PIXELMILL_{name}_URL"] for name in ("CACHE", "STATE"))
    stack.start("raw", [sys.executable, script, str(port), *urls])
    stack.wait_for("raw", lambda: httpx.get(f"http://127.0.0.1:{port}").status_code == 200)
    for wanted in (_by_hash(stack, photo), _by_body(stack, photo)):
        body = wanted.partition(b"\r\n\r\n")[2]
        path = wanted.split()[1].decode()
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": _type_of(wanted)}
        answer = httpx.post(f"{stack.url}{path}", content=body, headers=headers)
        link.set(hashlib.sha256(body).hexdigest(), answer.raise_for_status().content)


def _raw(stack: Stack, wanted: bytes) -> bytes:
    """The same request to the raw loop."""
    ours = f"127.0.0.1:{stack.ports['web']}".encode()
    return wanted.replace(ours, f"127.0.0.1:{stack.ports['raw']}".encode())


def _type_of(wanted: bytes) -> str:
    return wanted.partition(b"Content-Type: ")[2].split(b"\r\n")[0].decode()


def _measure(stack: Stack, process: str, wanted: bytes, clients: int) -> tuple[Answers, float]:
    url = f"http://127.0.0.1:{stack.ports[process]}"
    closed_loop(url, itertools.repeat(wanted), clients=clients, most=100)
    before = stack.cpu_s(process)
    limit = LOOK_UPS * 20 if clients == 1 else 10**9
    answers = closed_loop(
        url, itertools.repeat(wanted), clients=clients, seconds=SECONDS, most=limit
    )
    assert set(answers.statuses) == {200}, answers.statuses
    return answers, (stack.cpu_s(process) - before) * 1000 / len(answers.latencies_ms)


if __name__ == "__main__":
    main()
