#!/bin/sh
# Gradio: a page that nobody visits wakes its process hundreds of times a second, and takes some percent of
# a core for ever: the queue asks for work, and for news of progress, by sleeping for a moment over and
# over, also when there is none. Many small apps on one machine are never idle.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gradio==6.31.0
cat > "$folder/finding.py" <<'PYTHON'
import asyncio
import os
import sys
import time

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio

real_sleep, sleeps = asyncio.sleep, 0


async def counted(delay, *arguments, **options):
    global sleeps
    sleeps += 1
    return await real_sleep(delay, *arguments, **options)


asyncio.sleep = counted
with gradio.Blocks() as page:
    text = gradio.Textbox()
    gradio.Button().click(lambda value: value, text, text)
page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
time.sleep(5)
sleeps, cpu_s = 0, time.process_time()
time.sleep(10)
rate, share = sleeps / 10, (time.process_time() - cpu_s) / 10
print("Gradio", gradio.__version__)
print(f"Seen: without a visitor, naps a second: {rate:.0f}, of one core: {share:.1%}")
is_so = rate > 100
print("An idle page wakes more than a hundred times a second:", is_so)
sys.stdout.flush()
os._exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
