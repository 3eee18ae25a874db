"""Every text that people see is in every catalogue, and nothing else is."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import texts

from tasks.imaging.notes import SENTENCES
from tasks.imaging.volumes import sentences
from web import words
from web.page import account_frame

CATALOGUES = {file.stem: json.loads(file.read_bytes()) for file in words._FOLDER.glob("*.json")}
FOR_PROGRAMS = re.compile(
    r"web/(?:api|metrics|middleware/(?!hosts|identity|security)|page/programs)"
    r"|web/(?:connections|oidc|jobs/service|local)|storage|workers|deploy"
    r"|tasks/(?:models|training|celery|imaging/(?:helper|sandbox))"
)
"""Files whose errors no page shows: only programs, or whoever starts a worker, can do wrong so."""
NAMES = {
    "PNG", "WebP", "JPEG", "AVIF", "JSON", "API", "HEAD", "Ctrl+Z", "Ctrl+Shift+Z", "Pixelmill",
    "curl",     "Pixelmill: {}", "Pixelmill {}, Python {}.", "pixelmill worker", "https://example.com/photo.jpg",
}  # fmt: skip
"""The same in every language."""


def of_sources() -> Iterator[tuple[str, str]]:
    """(text, where it stands)."""
    for script in sorted(texts.STATIC.rglob("*.js")):
        yield from ((text, script.name) for text in texts.of_script(script))
    for folder in ("web", "tasks"):
        for file in sorted((texts.REPOSITORY / folder).rglob("*.py")):
            where = file.relative_to(texts.REPOSITORY).as_posix()
            if where.startswith("web/page/"):
                yield from ((text, where) for text in texts.of_pages(file))
            if not FOR_PROGRAMS.match(where):
                yield from ((text, where) for text in texts.of_python(file))
    yield from ((sentence, "notes.py") for sentence in SENTENCES.values())
    yield from ((note, "sentences.py") for note in sentences.NOTES.values())
    for both in sentences.REFUSALS.values():
        yield from ((text, "sentences.py") for text in both)


def _all_strings() -> Iterator[str]:
    for folder, ending in (("web", "js"), ("web", "py"), ("tasks", "py"), ("workers", "py")):
        for file in (texts.REPOSITORY / folder).rglob(f"*.{ending}"):
            yield from texts.everything(file)


COMPOSED = {
    "hour",
    "day",
    "{count} images",
    "{count} days",
    "{count} hours",
    "{count} minutes",
    "api keys",
    "your data",
}
"""Parts that code puts together: of web/jobs/admission.py, web/jobs/retention.py, and titles."""
SHOWN = {
    text: where
    for text, where in ((texts.unnamed(text), where) for text, where in of_sources())
    if text and text not in NAMES
}


@pytest.fixture(params=CATALOGUES)
def catalogue(request: pytest.FixtureRequest) -> dict[str, Any]:
    read: dict[str, Any] = CATALOGUES[request.param]
    return read


def test_every_text_has_a_translation(catalogue: dict[str, Any]) -> None:
    known = set(map(texts.unnamed, catalogue["texts"]))

    missing = {text: where for text, where in SHOWN.items() if text not in known}
    assert not missing, "\n".join(f"{where}: {text}" for text, where in missing.items())


def test_the_title_of_every_part_of_an_account_has_a_translation(catalogue: dict[str, Any]) -> None:
    titles = {name.lower() for name in account_frame.PARTS.values()}

    assert titles <= set(catalogue["texts"])


def test_no_translation_is_of_a_text_that_nobody_shows(catalogue: dict[str, Any]) -> None:
    written = set(map(texts.unnamed, _all_strings())) | set(SHOWN)

    unused = [
        text
        for text in catalogue["texts"]
        if texts.unnamed(text) not in written and text not in COMPOSED
    ]
    assert not unused, "\n".join(unused)


def test_a_translation_has_the_values_of_its_text(catalogue: dict[str, Any]) -> None:
    for text, translation in catalogue["texts"].items():
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(
            re.findall(r"\{\w+\}", translation)
        ), text


def test_the_switch_offers_every_language(catalogue: dict[str, Any]) -> None:
    script = (texts.STATIC / "words.js").read_text()

    assert f'"{catalogue["name"]}"' in script
