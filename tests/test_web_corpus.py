"""The whole corpus of hostile files through the real HTTP door."""

from concurrent.futures import ThreadPoolExecutor

import corpus
import httpx
from stack import Stack


def test_every_file_of_the_corpus_is_answered_as_it_should(stack: Stack, photo: bytes) -> None:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    worker = stack.processes["cpu-worker"].pid

    with httpx.Client(base_url=stack.url, headers=headers, timeout=120) as client:

        def status(name: str) -> int:
            data = corpus.files()[name].data
            # `wait` long enough: a failed job answers with its error's own status.
            return client.post("/api/v1/predict/toy?wait=100", content=data).status_code

        with ThreadPoolExecutor(4) as pool:
            statuses = dict(zip(corpus.files(), pool.map(status, corpus.files()), strict=True))
        after = client.post("/api/v1/predict/toy?wait=60", content=photo)

    unexpected = {
        name: (statuses[name], file.status)
        for name, file in corpus.files().items()
        if statuses[name] != file.status
    }
    assert unexpected == {}
    assert after.json()["state"] == "done"
    assert (
        stack.processes["cpu-worker"].pid == worker and stack.processes["cpu-worker"].poll() is None
    )
