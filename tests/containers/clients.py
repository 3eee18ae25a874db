"""Programs that send photos through nginx, and go on as its answers tell them to."""

import hashlib
import io
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
from installation import HOST
from PIL import Image

ENDED = ("done", "failed", "cancelled")
LIMIT_S = 240.0
"""A job that has not ended by then counts as lost."""
SENDERS, BEFORE_S = 7, 1.0
"""Each has one job in flight, one fewer in all than a user may have; how long before something is
done."""


class Clients:
    """`statuses` counts all answers; 0: none came."""

    def __init__(self, key: str) -> None:
        trusting = ssl.create_default_context()  # the name in the address is that of this machine
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        headers = {"Host": HOST, "Authorization": f"Bearer {key}"}
        self._http = httpx.Client(
            base_url="https://127.0.0.1", headers=headers, verify=trusting, timeout=60
        )
        self._lock, self._numbers = threading.Lock(), iter(range(1_000_000))
        self.statuses: Counter[int] = Counter()

    def ask(self, method: str, path: str, content: bytes | None = None) -> httpx.Response:
        """The answer; asks again while there is none, or one that says to come back later."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            try:
                answer = self._http.request(method, path, content=content)
                self.statuses[answer.status_code] += 1
                if answer.status_code not in (429, 503):
                    return answer
                time.sleep(min(float(answer.headers.get("Retry-After", 1)), 3))
            except httpx.TransportError:
                self.statuses[0] += 1
                time.sleep(0.5)
        raise SystemExit(f"{method} {path}: no answer in {LIMIT_S:g} s")

    def photo(self) -> bytes:
        """One that nobody has sent before."""
        with self._lock:
            number = next(self._numbers) + time.time_ns() % 1000 * 1000
        colour = (number % 256, number // 256 % 256, number // 65536 % 256)
        out = io.BytesIO()
        Image.new("RGB", (96, 64), colour).save(out, "PNG")
        return out.getvalue()

    def submit(self) -> str:
        """The id of an accepted job."""
        answer = self.ask("POST", "/api/v1/predict/classify?wait=0", self.photo())
        assert answer.status_code in (200, 202), answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, object]:
        """How it is going."""
        return dict(self.ask("GET", f"/api/v1/jobs/{job_id}").json())

    def end_of(self, job_id: str) -> str:
        """`done`, the code of a failure, or `lost`."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            job = self.job(job_id)
            if job["state"] in ENDED:
                error = job["error"]
                return str(error["code"]) if isinstance(error, dict) else str(job["state"])
            time.sleep(0.1)
        return "lost"

    def ends(self, meanwhile: Callable[[], object]) -> Counter[str]:
        """How all jobs ended that were sent while `meanwhile` was done: always some in flight."""
        is_over, found = threading.Event(), list[str]()

        def send() -> None:
            while not is_over.is_set():
                found.append(self.end_of(self.submit()))

        with ThreadPoolExecutor(SENDERS) as pool:
            senders = [pool.submit(send) for _ in range(SENDERS)]
            try:
                time.sleep(BEFORE_S)
                meanwhile()
            finally:
                is_over.set()
            for sender in senders:
                sender.result()
        return Counter(found)

    def result_hash(self, job_id: str) -> str:
        """SHA-256 of the objects of a job's result, each by its signed address through nginx."""
        result = self.job(job_id)["result"]
        assert isinstance(result, dict)
        total = hashlib.sha256()
        for _, item in sorted(result["objects"].items()):
            path = str(httpx.URL(item["url"]).raw_path, "ascii")
            answer = self.ask("GET", path)
            assert answer.status_code == 200, (path, answer.status_code, answer.text[:300])
            total.update(answer.content)
        return total.hexdigest()
