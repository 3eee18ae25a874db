#!/bin/sh
# Chromium: a photo whose EXIF says that the camera was held on its side is shown upright as JPEG, PNG and
# AVIF, and lies on its side as WebP. OpenCV 5 and Pillow's exif_transpose turn the WebP too, so a page and
# its server disagree about width, height and every coordinate. Needs `chromium` (also by its other names).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pillow==13.0.0 opencv-python-headless==5.0.0.93
cat > "$folder/finding.py" <<'PYTHON'
import base64
import html
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import PIL
from PIL import Image, ImageOps

PAGE = """<body>%s<pre></pre><script>
onload = () => {
  const sizes = {};
  for (const image of document.images) sizes[image.id] = [image.naturalWidth, image.naturalHeight];
  document.querySelector("pre").textContent = JSON.stringify(sizes);
}
</script>"""

folder = pathlib.Path(sys.argv[1])
names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
browser = next(filter(None, map(shutil.which, names)), None)
if browser is None:
    sys.exit("this needs Chromium on the PATH")
by_pillow, by_opencv, images = {}, {}, []
for name in ("JPEG", "PNG", "AVIF", "WEBP"):
    turned, file = Image.Exif(), io.BytesIO()
    turned[0x0112] = 6  # as phones write it: to be turned by 90 degrees
    Image.new("RGB", (60, 40), "red").save(file, name, exif=turned)
    data = file.getvalue()
    by_pillow[name] = list(ImageOps.exif_transpose(Image.open(file)).size)
    by_opencv[name] = list(cv2.imdecode(np.frombuffer(data, np.uint8), 1).shape[1::-1])
    text = base64.b64encode(data).decode()
    images.append(f'<img id="{name}" src="data:image/{name.lower()};base64,{text}">')
page = folder / "page.html"
page.write_text(PAGE % "".join(images))
command = [browser, "--headless", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
           "--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
if os.getuid() == 0:
    command.insert(1, "--no-sandbox")  # Chromium's own does not run as root
shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
by_chromium = json.loads(html.unescape(re.search("<pre>(.*?)</pre>", shown).group(1)))
version = subprocess.run([browser, "--version"], capture_output=True, text=True).stdout.strip()
print(version, "- Pillow", PIL.__version__, "- OpenCV", cv2.__version__)
print("Seen: width and height of what is 40 x 60 when upright")
print("Seen: Chromium:", by_chromium)
print("Seen: Pillow:", by_pillow, "- OpenCV:", by_opencv)
upright, lying = [40, 60], [60, 40]
is_so = by_chromium == {"JPEG": upright, "PNG": upright, "AVIF": upright, "WEBP": lying}
is_so = is_so and by_pillow["WEBP"] == by_opencv["WEBP"] == upright
print("Chromium turns JPEG, PNG and AVIF upright, and leaves WebP as it lies:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
