#!/bin/sh
# OpenCV: cv2.imread of a file and cv2.imdecode of the same bytes differ. Some cameras and panorama
# programs leave out the two bytes that end a JPEG (EOI); nothing of the picture is missing. imread
# gives the whole picture, imdecode gives None. What works in a notebook fails behind an upload.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 pillow==13.0.0
cat > "$folder/finding.py" <<'PYTHON'
import io
import pathlib
import sys

import cv2
import numpy as np
import PIL
from PIL import Image

print("OpenCV", cv2.__version__, "- file written by Pillow", PIL.__version__)
slope = np.linspace(0, 255, 640 * 480 * 3).astype(np.uint8).reshape(480, 640, 3)
written = io.BytesIO()
Image.fromarray(slope).save(written, "JPEG", quality=95)
whole = written.getvalue()
file = pathlib.Path(sys.argv[1]) / "no-eoi.jpg"
file.write_bytes(whole[:-2])

expected = cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR)
by_file = cv2.imread(str(file), cv2.IMREAD_COLOR)
by_bytes = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
is_whole = by_file is not None and np.array_equal(by_file, expected)
print("Seen: imread gives every pixel:", is_whole)
print("Seen: imdecode gives:", by_bytes if by_bytes is None else by_bytes.shape)
is_so = is_whole and by_bytes is None
print("A JPEG without its last two bytes is read from a file and refused from memory:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
