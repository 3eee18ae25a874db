#!/bin/sh
# Gradio: what a function returns for `gr.Image` reaches the browser and API clients with other pixels: arrays
# and pictures are written as lossy WebP unless the component says `format="png"`. A mask of
# four values has dozens when it arrives, and whoever saves it from the page has that.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gradio==6.31.0
cat > "$folder/finding.py" <<'PYTHON'
import os
import sys

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio
import gradio_client
import numpy as np
from PIL import Image

rows, columns = np.mgrid[:64, :64]
classes = (np.hypot(rows - 32, columns - 32) // 6 % 4 * 60).astype(np.uint8)  # rings
seen = {}
for name, component in (("by default", gradio.Image()), ('format="png"', gradio.Image(format="png"))):
    page = gradio.Interface(lambda: np.dstack([classes] * 3), None, component, api_name="mask")
    _, address, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    file = gradio_client.Client(address, verbose=False).predict(api_name="/mask")
    arrived = np.asarray(Image.open(file).convert("RGB"))[..., 0]
    seen[name] = (Image.open(file).format, float((arrived != classes).mean()), np.unique(arrived).size)
    page.close(verbose=False)
print("Gradio", gradio.__version__, "- the function returns a mask of four values: 0, 60, 120, 180")
for name, (kind, changed, count) in seen.items():
    print(f"Seen: {name}: a {kind} in which {changed:.0%} of the pixels are changed, and {count} values")
is_so = seen["by default"][1] > 0.1 and seen['format="png"'][1] == 0
print("A returned mask arrives with other values:", is_so)
sys.stdout.flush()
os._exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
