"""`python -m deploy.env_example` writes deploy/.env.example: every setting with its default."""

from inspect import cleandoc
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from deploy.settings_error import EXAMPLE_FILE
from tasks.settings import Settings

HEAD = """\
# Every setting of Pixelmill with its default. Written by `python -m deploy.env_example`.
# To change one, write it without the leading # into a file `.env` in the folder in which Pixelmill
# is started, or set it in the environment, which wins over the file.
"""


def text() -> str:
    """The content of the file: defaults alone, so that no secret of this machine gets into it."""
    fields = Settings.model_fields.items()
    entries = [_entry(name, field) for name, field in fields if not field.deprecated]
    return "\n".join([HEAD, *entries])


def main() -> None:
    """Write the file."""
    EXAMPLE_FILE.write_text(text())
    print(f"wrote {EXAMPLE_FILE}")


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
