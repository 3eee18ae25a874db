"""Arrays between the stages that are gone when postprocess wants them: the run starts again."""

import secrets

import httpx
import pytest
from stack import REPOSITORY, Stack
from waiting import wait_until

from storage import keys


@pytest.mark.parametrize("gone", ["output", "image", "upload", ""], ids=lambda name: name or "all")
def test_a_job_whose_array_is_gone_before_postprocess_ends_well(stack: Stack, gone: str) -> None:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    with httpx.Client(base_url=f"{stack.url}/api/v1", headers=headers, timeout=60) as http:
        asked = http.post(
            f"/predict/slow?device_s=1&salt={secrets.randbelow(2**31)}&wait=0",
            content=(REPOSITORY / "examples" / "chelsea.jpg").read_bytes(),
        )
        job = asked.json()["id"]
        key = (stack.state.hget(keys.job(job), "request_key") or b"").decode()
        wait_until(lambda: http.get(f"/jobs/{job}").json()["stage"] == "inference")
        with stack.hanging("cpu-worker"):
            wait_until(lambda: stack.state.hget(keys.run(key), "ended_attempt:inference") == b"1")
            lost = [path for path in stack.arrays(key) if path.name.endswith(gone)]
            for path in lost:
                path.unlink()
        wait_until(lambda: http.get(f"/jobs/{job}").json()["state"] in ("done", "failed"))
        ended = http.get(f"/jobs/{job}").json()

    assert lost, "there was nothing to lose"
    assert (ended["state"], ended["error"]) == ("done", None)
    assert stack.state.hget(keys.run(key), "attempt") == b"2", "it was made anew, once"
    assert stack.arrays(key) == []
