#!/bin/sh
# Gradio: importing a module of your own that subclasses a component writes a file beside it: `page.py` gets
# a `page.pyi`. Type checkers and editors then believe that file and no longer the module, and it is not
# renewed when the module changes: what is added to it later does not exist for them. An installed package
# or a checkout is changed by being imported.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet gradio==6.31.0
cat > "$folder/finding.py" <<'PYTHON'
import os
import pathlib
import subprocess
import sys
from importlib.metadata import version

own = pathlib.Path(sys.argv[1]) / "own"
own.mkdir()
module, stub = own / "page.py", own / "page.pyi"
module.write_text("""import gradio


class Title(gradio.Textbox):
    pass

""")


def import_it():
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    subprocess.run([sys.executable, "-c", "import page"], cwd=own, env=environment, check=True)


print("Gradio", version("gradio"))
print("Seen: files before the import:", sorted(path.name for path in own.iterdir()))
import_it()
is_written = stub.exists()
print("Seen: files after it:", sorted(path.name for path in own.iterdir() if path.is_file()))
module.write_text(module.read_text() + "\ndef later() -> int:\n    return 1\n")
import_it()
is_stale = is_written and "Title" in stub.read_text() and "later" not in stub.read_text()
print("Seen: a function that was added later is missing in the new file:", is_stale)
is_so = is_written and is_stale
print("Importing a module with a component of its own writes a file beside it:", is_so)
sys.exit(not is_so)
PYTHON
"$folder/venv/bin/python" "$folder/finding.py" "$folder"
