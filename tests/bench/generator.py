"""A Gradio page whose generator yields job objects, served as our web process is: for sse.py."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI

PORT, UPDATES, EVERY_S = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
JOB = {
    "id": "0" * 32, "state": "inferring", "model": "toy", "params": {}, "cached": False,
    "degraded": False, "priority": "interactive", "progress": 0.0, "stage": "inference",
    "position": None, "eta_s": None, "result": None, "timings_ms": {}, "weights": "sha256:w",
    "error": None,
}  # fmt: skip


async def updates() -> AsyncIterator[dict[str, Any]]:
    for number in range(UPDATES):
        await asyncio.sleep(EVERY_S)
        yield {**JOB, "progress": number / UPDATES}


with gr.Blocks() as page:
    shown = gr.JSON()
    gr.Button("Go").click(updates, None, shown, concurrency_limit=None)

app = gr.mount_gradio_app(FastAPI(), page.queue(max_size=None), "/")
uvicorn.run(app, port=PORT, loop="uvloop", http="httptools", log_level="warning")
