#!/bin/sh
# Pillow: a grey PNG of 16 bits (scanners, depth maps, medical pictures) turns almost wholly white by
# `convert("RGB")` or `convert("L")`: values are cut off at 255, not divided by 256, without a warning.
# For colour PNGs of 16 bits the same library does divide.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93
cat > "$folder/finding.py" <<'PYTHON'
import io
import sys

import cv2
import numpy as np
import PIL
from PIL import Image

print("Pillow", PIL.__version__, "- OpenCV", cv2.__version__, "as a second opinion")
ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256)
file = io.BytesIO()
Image.fromarray(ramp).save(file, "PNG")
bytes_ = np.frombuffer(file.getvalue(), np.uint8)
colours = cv2.imencode(".png", np.dstack([ramp] * 3))[1].tobytes()  # the same ramp as 16-bit RGB
seen = {
    "Pillow, grey": np.asarray(Image.open(file).convert("RGB"))[0, :, 0],
    "Pillow, colour": np.asarray(Image.open(io.BytesIO(colours)).convert("RGB"))[0, :, 0],
    "OpenCV, grey": cv2.imdecode(bytes_, cv2.IMREAD_COLOR)[0, :, 0],
}
for name, values in seen.items():
    print(f"Seen: {name}: black to white in 8 steps becomes", values[::32].tolist())
is_white = int((seen["Pillow, grey"] == 255).sum())
print("Seen: of 256 shades Pillow makes white:", is_white)
is_so = is_white >= 250 and all((seen[name] == 255).sum() < 5 for name in list(seen)[1:])
print("A grey PNG of 16 bits turns white in Pillow, a coloured one does not:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
