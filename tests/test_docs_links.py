"""What the documentation names exists: files, headings, settings, commands, metrics, messages.

`make docs` checks the links of the site as well; external links are not followed (no network).
"""

import re
from functools import cache
from pathlib import Path

import pytest
from pages import PAGES, ROOT, name_of, prose

from tasks.settings import Settings

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
FOLDERS = "storage|tasks|workers|web|deploy|tests|docs|findings|examples"
REPOSITORY_PATH = re.compile(rf"(?:{FOLDERS})/[\w./-]+\.(?:py|lua|md|txt|sh|js|webp)")
CLIENT_SETTINGS = {"URL", "API_KEY"}
"""Variables of the command line alone, which are no settings of a server."""
VALUES = re.compile(
    r"; |\.\.\.|'[^']*'|\b\d+\b|\bFILE\b|web-1|\.aof|the state Redis|/dev/shm|put_bucket_cors"
    r"|PIXELMILL_\w+(=\w+)?|var/run\.json"
)
"""What stands for a value in a message of the troubleshooting page."""

pages = pytest.mark.parametrize("page", PAGES, ids=name_of)


@cache
def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", LINK.sub("", heading.lower())) for heading in headings]
    return {heading.strip().replace(" ", "-") for heading in plain}


@cache
def sources() -> str:
    """All code that people see messages of, with the texts of neighbouring lines joined."""
    files = [
        file
        for folder in ("storage", "tasks", "workers", "web", "deploy")
        for file in (ROOT / folder).rglob("*.py")
    ]
    text = "\n".join(file.read_text() for file in [*files, ROOT / "Makefile"])
    return re.sub(r'"\s*\n\s*f?"', "", text)


@pages
def test_every_link_leads_to_a_file_and_its_anchor_to_a_heading(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        is_there = file.exists() and (not anchor or anchor in slugs(file))
        broken += [] if is_there else [target]

    assert broken == []


@pages
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = {word for code in CODE.findall(prose(page)) for word in re.split(r"[\s=:]", code)}
    paths = {word for word in named if REPOSITORY_PATH.fullmatch(word) and "NAME" not in word}

    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pages
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = {name.upper() for name in Settings.model_fields} | CLIENT_SETTINGS
    named = set(re.findall(r"PIXELMILL_([A-Z][A-Z0-9_]*[A-Z0-9])", page.read_text()))

    assert named - known == set()


@pages
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`make ([a-z-]+)", page.read_text())) - {"bench-"}
    rules = {name for name in named if not name.startswith("bench-")}
    benches = {name.removeprefix("bench-") for name in named - rules}

    assert [name for name in rules if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []
    assert [name for name in benches if not (ROOT / f"tests/bench/{name}.py").exists()] == []


def test_every_metric_that_is_named_exists() -> None:
    table = (ROOT / "docs" / "operations.md").read_text().partition("## Metrics")[2]
    table = table.partition("## Monitoring")[0]
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    named = {name for row in rows for name in CODE.findall(re.sub(r"\([^)]*\)", "", row))}

    assert len(named) > 20
    missing = [
        name
        for name in sorted(named)
        if f'"pixelmill_{name}"' not in sources()
        and f'"pixelmill_{name.removesuffix("_total")}"' not in sources()
    ]
    assert missing == []


def test_every_message_of_the_troubleshooting_page_is_one_that_is_printed() -> None:
    table = (ROOT / "docs" / "troubleshooting.md").read_text()
    cells = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    messages = [message for cell in cells for message in CODE.findall(cell)]

    assert len(messages) > 15
    parts = [max(VALUES.sub("\0", message).split("\0"), key=len) for message in messages]
    assert [part for part in parts if part.strip() not in sources()] == []
