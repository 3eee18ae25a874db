"""make compose-test: the shipped compose.yaml on a real Docker Engine, and everything in it killed.

It builds both images on bases made of Debian's packages, starts the whole installation in a
network namespace by the commands of deploy/compose/README.md, and sends photos through nginx: each
container is killed with jobs in flight, gpu workers are scaled 1 -> 3 -> 1, and all of it is taken
down and started again. It prints a table and exits with 1 when anything fell short. It needs root,
docker.io and mmdebstrap, touches nothing of the host's network, and leaves only logs in
var/containers.
"""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from engine import NAMESPACE, Engine, make_namespace, pip_arguments, remove_namespace, run
from installation import CHECKOUT, FOLDER, remove
from story import BUILT

WEB_MB = 450
"""How large the image of web processes may be."""
BAKED, FETCHED = "matting", "classify"
"""Models whose weights are put into the worker's image, and fetched by it."""
ALONE = ("run", "--rm", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


def build(engine: Engine, torch_index: str | None) -> None:
    """Both images and what can be seen of them alone; written to BUILT for the table."""
    rows: list[tuple[str, str, str]] = []
    figures: dict[str, float] = {}
    engine.build_bases()
    with pip_arguments() as arguments:
        torch = [f"TORCH_INDEX={torch_index}"] if torch_index else []
        for target, own in (("web", []), ("worker", [*torch, f"WEIGHTS={BAKED}"])):
            began = time.monotonic()
            engine.build(target, *arguments, *own)
            figures |= {f"{target}_mb": _size_mb(target)}
            took_s = time.monotonic() - began
            what = f"{figures[f'{target}_mb']:.0f} MB, built in {took_s:.0f} s"
            is_large = target == "web" and figures["web_mb"] > WEB_MB
            rows.append((f"pixelmill-{target}", what, f"over {WEB_MB}" if is_large else ""))
            print(*rows[-1], flush=True)
    hidden = ("--tmpfs", "/var/lib/pixelmill/weights")  # as a volume of an earlier image hides it
    rows.append(_weights(BAKED, "in the image", "--network", "none", *hidden))
    rows.append(_weights(FETCHED, "fetched", "--network", "host", "--volume", "/var/lib/pixelmill"))
    BUILT.write_text(json.dumps({"rows": rows, "figures": figures}))


def _size_mb(target: str) -> float:
    bytes_ = run("docker", "image", "inspect", "--format", "{{.Size}}", f"pixelmill-{target}")
    return round(int(bytes_) / 1e6, 1)


def _weights(model: str, where: str, *options: str) -> tuple[str, str, str]:
    """A row: whether a container on a read-only root without rights has a model's weights."""
    command = [*ALONE, "--env", "PIXELMILL_S3_URL=http://127.0.0.1:1", "--tmpfs", "/tmp", *options]
    done = subprocess.run(
        ["docker", *command, "pixelmill-worker", "weights", model], capture_output=True, text=True
    )
    said = re.search(rf"weights of {model}: \S+ MiB", done.stderr)
    reason = "" if said and done.returncode == 0 else (done.stdout + done.stderr)[-300:]
    return f"weights {where}", said[0] if said else "none", reason


def main() -> int:
    """Build what is missing, then tell the story in the engine's network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--torch-index", help="index of the build of torch for the worker's image")
    parser.add_argument("--keep", action="store_true", help="keep the images for the next run")
    chosen = parser.parse_args()
    missing = [name for name in ("dockerd", "mmdebstrap", "nsenter") if not shutil.which(name)]
    if missing:
        parser.error(f"not installed: {', '.join(missing)} (Debian: docker.io, mmdebstrap)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that it cleans up
    engine = Engine(FOLDER / "engine")
    try:
        engine.start(isolated=False)
        build(engine, chosen.torch_index)
        engine.stop()
        make_namespace()
        engine.start(isolated=True)
        inside = ["nsenter", f"--net=/run/netns/{NAMESPACE}"]
        story = Path(__file__).with_name("story.py")
        return subprocess.run([*inside, sys.executable, str(story)]).returncode
    finally:
        remove()
        engine.stop()
        remove_namespace()
        shutil.rmtree(CHECKOUT, ignore_errors=True)
        if not chosen.keep:
            engine.remove()


if __name__ == "__main__":
    sys.exit(main())
