"""The Markdown files of the repository, as the tests of the documentation read them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = (".", "docs", "docs/benchmarks", "deploy/locks", "examples", "findings", ".github")
PAGES = [file for folder in FOLDERS for file in sorted((ROOT / folder).glob("*.md"))]
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (not run|file): ([^\n]+) -->\n+\Z")


@dataclass(frozen=True)
class Block:
    """One fenced block, with what the comment on the line before it says."""

    page: str
    """Path of its file in the repository."""
    line: int
    language: str
    code: str
    not_run: str
    """Why it is not run; empty: it is."""
    file: str
    """Where it is to be saved instead of being run."""


def name_of(page: Path) -> str:
    """The page's path in the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    for match in _FENCE.finditer(text):
        comment = _COMMENT.search(text[: match.start()])
        said = {comment[1]: comment[2]} if comment else {}
        indent, language, code = match.groups()
        yield Block(
            page=name_of(page),
            line=text.count("\n", 0, match.start()) + 1,
            language=language,
            code=re.sub(f"^{indent}", "", code, flags=re.MULTILINE),
            not_run=said.get("not run", ""),
            file=said.get("file", ""),
        )


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())
