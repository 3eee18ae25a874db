"""Hooks of mkdocs: the root folder's Markdown files are pages too, and links to code become words.

In the repository a link may name any file. The site holds pages and pictures only, so a link to a
source file is kept as its text alone; a link whose file does not exist stops the build.
"""

import logging
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ROOT_PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "reporting.md",
}
"""File of the root folder -> its page."""
SOURCES = {page: source for source, page in ROOT_PAGES.items()}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//"""
    r"""|@import\s+["'](?:https?:)?//|url\(["']?(?:https?:)?//"""
)
"""What makes a browser ask another server."""

log = logging.getLogger("mkdocs.plugins.site")  # a warning of this logger fails a strict build


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the root folder's pages."""
    for source, page in ROOT_PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point each relative link to its page; outside of code blocks only."""
    source = SOURCES.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return "".join(
        part if is_code else LINK.sub(lambda link: _linked(link, source, page), part)
        for part, is_code in _parts(markdown)
    )


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a site whose pages would load anything from another server."""
    site = Path(config.site_dir)
    for file in [*site.rglob("*.html"), *site.rglob("*.css")]:
        if match := LOADED.search(file.read_text()):
            raise PluginError(f"{file.relative_to(site)} loads from elsewhere: {match.group()}")


def _parts(markdown: str) -> Iterator[tuple[str, bool]]:
    """The lines, and for each whether it belongs to a fenced block."""
    is_code = False
    for line in markdown.splitlines(keepends=True):
        is_fence = line.lstrip().startswith("```")
        yield line, is_code or is_fence
        is_code ^= is_fence


def _linked(link: re.Match[str], source: str, page: Page) -> str:
    """The link as the site needs it; `source` is the path of its file in the repository."""
    picture, text, target = link.groups()
    path, hash_, anchor = target.partition("#")
    if "://" in target or target.startswith("mailto:") or not path:
        return link.group()
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if not (ROOT / path).exists():
        log.warning("%s links to %s, which does not exist", source, target)
    if (here := ROOT_PAGES.get(path)) or path.startswith("docs/") and (ROOT / path).is_file():
        here = here or path.removeprefix("docs/")
        relative = posixpath.relpath(here, posixpath.dirname(page.file.src_uri) or ".")
        return f"{picture}[{text}]({relative}{hash_}{anchor})"
    return text
