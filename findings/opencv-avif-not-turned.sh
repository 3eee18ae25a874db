#!/bin/sh
# OpenCV: pictures that were taken with the camera on its side are turned upright by cv2.imdecode and
# cv2.imread, in JPEG, PNG and WebP, but not in AVIF, although AVIF says it in the container itself
# (`irot`), which the format makes every reader apply. A service that takes AVIF works on sideways photos.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 pillow==13.0.0
cat > "$folder/finding.py" <<'PYTHON'
import io
import sys

import cv2
import numpy as np
import PIL
from PIL import Image

print("OpenCV", cv2.__version__, "- files written by Pillow", PIL.__version__)
turned = Image.Exif()
turned[0x0112] = 6  # as phones write it: to be turned by 90 degrees
sizes = {}
for name in ("JPEG", "PNG", "WEBP", "AVIF"):
    file = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(file, name, exif=turned)
    height, width = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR).shape[:2]
    sizes[name] = (width, height)
print("The AVIF says in its container that it is turned:", b"irot" in file.getvalue())
print("Seen: width and height of what is 40 x 60 when upright:", sizes)
is_so = sizes == {"JPEG": (40, 60), "PNG": (40, 60), "WEBP": (40, 60), "AVIF": (60, 40)}
print("OpenCV turns JPEG, PNG and WebP upright, and leaves AVIF as it lies:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
