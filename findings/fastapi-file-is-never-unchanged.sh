#!/bin/sh
# FastAPI and Starlette: a FileResponse carries ETag and Last-Modified, but the questions that these are for
# are not heard: asked with the same ETag it sends the whole file again (200), never 304. The same
# file under StaticFiles is answered with 304. Browsers ask, and fetch each picture again all the same.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet fastapi==0.165.0 starlette==1.10.0 uvicorn==0.54.0
cat > "$folder/finding.py" <<'PYTHON'
import os
import pathlib
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

import fastapi
import starlette
import uvicorn
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

folder = pathlib.Path(sys.argv[1]) / "files"
folder.mkdir()
(folder / "photo.jpg").write_bytes(os.urandom(100_000))
app = fastapi.FastAPI()


@app.get("/file")
def file():
    return FileResponse(folder / "photo.jpg")


app.mount("/static", StaticFiles(directory=folder))


def serve():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    return f"http://127.0.0.1:{port}"


def ask(url, headers):
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, headers=headers))
        return answer.status, len(answer.read()), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, 0, error.headers


print("FastAPI", fastapi.__version__, "- Starlette", starlette.__version__)
address, seen = serve(), {}
for path in ("/file", "/static/photo.jpg"):
    headers = ask(address + path, {})[2]
    for question, validator in (("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")):
        status, size, _ = ask(address + path, {question: headers[validator]})
        seen[path, question] = status
        print(f"Seen: {path} with {question} of its own {validator}: {status}, {size} bytes")
is_so = list(seen.values()) == [200, 200, 304, 304]
print("A FileResponse names its ETag and never answers 304:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
