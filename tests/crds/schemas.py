"""make crds: JSON schemas of the kinds that KEDA and the Prometheus operator add to Kubernetes.

Kubernetes' own schemas do not have them. They are made of the types that npm packages have of the
operators' sources, so that a test can check the chart without a cluster and without npm. Unknown
keys are refused, as typing errors in them would be ignored by a cluster.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
INSTALLED = Path("var/crds")
KINDS = ("ScaledObject", "TriggerAuthentication", "PodMonitor")


def main() -> None:
    """Install what package.json names into var/crds, and write a schema for each kind."""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "tsconfig.json", "types.ts"):
        shutil.copy(FOLDER / name, INSTALLED)
    _run("npm", "install", "--no-fund", "--no-audit", "--ignore-scripts", "--silent")
    patterns = _patterns()
    for kind in KINDS:
        options = ("--path", "types.ts", "--tsconfig", "tsconfig.json", "--type", kind)
        schema = _plain(json.loads(_run("npx", "ts-json-schema-generator", *options)))
        for name, definition in schema["definitions"].items():
            if definition == {"type": "string"} and name in patterns:
                definition["pattern"] = patterns[name]
        (FOLDER / f"{kind}.json").write_text(json.dumps(schema, indent=1) + "\n")


def _run(*words: str) -> str:
    return subprocess.run(
        words, cwd=INSTALLED, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _plain(schema: Any) -> Any:
    """Without descriptions, which are most of its bytes."""
    if isinstance(schema, dict):
        return {
            name: _plain(item)
            for name, item in schema.items()
            if not (name == "description" and isinstance(item, str))
        }
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema


def _patterns() -> dict[str, str]:
    """What strings of a type must look like, which the types do not say, but the validators do."""
    found = {}
    folder = INSTALLED / "node_modules" / "@kubernetes-models" / "prometheus-operator" / "_schemas"
    for file in folder.glob("*MonitoringV1*.js"):
        match = re.match(r'[^;]*;let pattern0=RegExp\("(.*?)","u"\);', file.read_text())
        if match:
            found["I" + file.stem.partition("MonitoringV1")[2]] = json.loads(f'"{match[1]}"')
    return found


if __name__ == "__main__":
    main()
