"""Gradio's HTML as this page serves it: its inline scripts bear the request's nonce, so that the
page's policy runs no other ones; it has the page's language, and does not advertise Gradio."""

import re

from gradio import routes
from jinja2 import ChoiceLoader, DictLoader

from web import words
from web.middleware.security import script_nonce
from web.page.html import ICON, rooted

NAME = "frontend/index.html"
_ADVERTISED = re.compile(r'<meta\s+(?:property="og:|name="twitter:)[^>]*>')


def prepare() -> None:
    """From now on Gradio draws its page from the changed template."""
    environment = routes.templates.env
    loader = environment.loader
    assert loader is not None
    source, _, _ = loader.get_source(environment, NAME)
    environment.globals |= {"script_nonce": script_nonce.get, "page_language": words.tag}
    environment.loader = ChoiceLoader([DictLoader({NAME: _changed(source)}), loader])


def _changed(source: str) -> str:
    source = _ADVERTISED.sub("", source)
    source = source.replace("<head>", f"<head>{rooted(ICON)}", 1)  # else it asks for /favicon.ico
    source = source.replace('lang="en"', 'lang="{{ page_language() }}"', 1)
    return source.replace("<script", '<script nonce="{{ script_nonce() }}"')
