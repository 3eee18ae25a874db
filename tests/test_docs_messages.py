"""docs/troubleshooting.md quotes messages as the code has them."""

import ast
import re
from collections.abc import Iterator

from stack import REPOSITORY

PAGE = REPOSITORY / "docs" / "troubleshooting.md"
FOLDERS = ("deploy", "storage", "tasks", "web", "workers")
VALUES = (
    r"\.\.\. ?(\.aof)?|the state Redis|'\w+'|`[^`]*`|\b[\d.:]*\d\b"
    r"|PIXELMILL_\w+(=\w+)?|put_\w+|\S*/\S+"
)
"""What stands for a value in a quoted message."""


def test_each_quoted_message_is_one_of_the_code() -> None:
    known = "\n".join([*_texts(), (REPOSITORY / "Makefile").read_text()])

    quoted = re.findall(r"^\| (`.+?`) \|", PAGE.read_text(), re.MULTILINE)
    parts = [
        part.strip(" `")
        for row in quoted
        for part in re.sub(VALUES, "\n", row.strip("`")).split("\n")
    ]
    missing = [part for part in parts if len(part) > 3 and part not in known]

    assert len(quoted) > 20
    assert missing == []


def _texts() -> Iterator[str]:
    """All texts of the code; of one with values, the parts between them."""
    for folder in FOLDERS:
        for file in sorted((REPOSITORY / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value
