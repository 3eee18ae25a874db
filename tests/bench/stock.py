"""A stock Gradio app: a picture in, its cut-out after the same delay; `python stock.py PORT`."""

import sys
import time

import gradio as gr
import numpy as np
from PIL import Image

DELAY_S = 0.25


def cut_out(photo: Image.Image) -> Image.Image:
    """As tests/bench/models/delay.py does it."""
    time.sleep(DELAY_S)
    height, width = photo.height, photo.width
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    alpha = np.clip((1 - x * x - y * y) * 900, 0, 255).astype(np.uint8)
    photo.putalpha(Image.fromarray(alpha))
    return photo


gr.Interface(cut_out, gr.Image(type="pil"), gr.Image(format="webp"), flagging_mode="never").launch(
    server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True
)
