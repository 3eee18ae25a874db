#!/bin/sh
# Gradio: `mount_gradio_app(app, blocks, path="/ui", root_path="/mill/ui")` says that a proxy serves the page
# at /mill/ui. Behind a proxy that takes /mill off, as its documents describe, every request for the page
# is answered 404: FastAPI replaces the mount's root_path by the given one, of which the path no longer
# is a part. Only a proxy (or middleware) that leaves /mill in the path gets an answer.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gradio==6.31.0 httpx
cat > "$folder/finding.py" <<'PYTHON'
import os
import sys
from importlib.metadata import version

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio
from fastapi import FastAPI
from starlette.testclient import TestClient


def status(root_path):
    with gradio.Blocks() as blocks:
        gradio.Markdown("A page")
    app = gradio.mount_gradio_app(FastAPI(), blocks, path="/ui", root_path=root_path)
    return TestClient(app).get("/ui/").status_code  # as it comes from a proxy that took /mill off


print("Gradio", version("gradio"), "FastAPI", version("fastapi"))
without, within = status(None), status("/mill/ui")
print("Seen: /ui/ is answered", without, "without root_path,", within, "with it")
is_so = (without, within) == (200, 404)
print("With root_path, the page is not found behind a proxy that takes the path off:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py"
