#!/bin/sh
# FastAPI and Starlette: a StreamingResponse over an open file, or over a generator that does `yield from file`
# as manuals show, sends it line by line. A photo has a line break every 256 bytes or so: one of 2 MB
# becomes eight thousand pieces, each read in a thread and sent alone, at many times the CPU of a FileResponse.
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
from fastapi.responses import FileResponse, StreamingResponse

photo = pathlib.Path(sys.argv[1]) / "photo.jpg"
photo.write_bytes(os.urandom(2_000_000))  # as evenly mixed as the data of a JPEG
pieces = 0
api = fastapi.FastAPI()


@api.get("/file")
def whole():
    return FileResponse(photo)


@api.get("/stream")
def stream():
    def read():
        with open(photo, "rb") as file:
            yield from file

    return StreamingResponse(read(), media_type="image/jpeg")


async def app(scope, receive, send):
    async def counted(message):
        global pieces
        pieces += message["type"] == "http.response.body"
        await send(message)

    await api(scope, receive, counted)


def serve():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    return f"http://127.0.0.1:{port}"


print("FastAPI", fastapi.__version__, "- Starlette", starlette.__version__,
      "- uvicorn", uvicorn.__version__)
address, seen = serve(), {}
for path in ("/file", "/stream"):
    pieces, start = 0, time.process_time()
    assert len(urllib.request.urlopen(address + path, timeout=120).read()) == 2_000_000
    seen[path] = (pieces, time.process_time() - start)
    print(f"Seen: {path}: {pieces} pieces, {seen[path][1]:.2f} s of CPU")
is_so = seen["/stream"][0] > 50 * seen["/file"][0] and seen["/stream"][1] > 5 * seen["/file"][1]
print("A photo that is streamed from an open file is sent in thousands of pieces:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
