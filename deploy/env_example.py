"""`python -m deploy.env_example` writes deploy/.env.example: every setting, out of `Settings`."""

from inspect import cleandoc
from pathlib import Path
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from tasks.settings import Settings

FILE = Path(__file__).parent / ".env.example"
HEAD = """\
# Every setting of Pixelmill with its default. Written by `python -m deploy.env_example`.
# Copy what you change to a file `.env` where Pixelmill is started, or set it in the environment,
# which wins. `pixelmill doctor` says what is in use.
"""


def text() -> str:
    """The file's content. Only defaults are read: no environment, no secret."""
    entries = [_entry(name, field) for name, field in Settings.model_fields.items()]
    return "\n".join([HEAD, *entries])


def main() -> None:
    """Write the file."""
    FILE.write_text(text())
    print(f"wrote {FILE}")


def _entry(name: str, field: FieldInfo) -> str:
    lines = cleandoc(field.description or "").splitlines()
    if get_origin(field.annotation) is Literal:
        lines.append("One of: " + ", ".join(get_args(field.annotation)))
    lines.append(f"PIXELMILL_{name.upper()}={_value(field.default)}")
    return "".join(f"# {line}\n" for line in lines)


def _value(default: object) -> str:
    if default is None:
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


if __name__ == "__main__":
    main()
