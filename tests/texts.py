"""All texts that people may see, out of the sources: the page's scripts, the small pages, the
messages of errors and the notes of results. A value in a text is written `{}`."""

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
STATIC = REPOSITORY / "web" / "static"
ERRORS = re.compile(
    r"JobError|BadInput|Unavailable|ModelFailure|Busy|NotAllowed|NotSignedIn|WrongBytes|\w*Password"
    r"|_bad|_too_large|_refused|failed"
)
"""What makes an error of a message, which is its first argument, and of a `hint`."""
TRANSLATED = re.compile(r"t|say|announce")
ATTRIBUTES = {"aria-label", "title", "alt", "placeholder", "label"}
_JAVASCRIPT = re.compile(
    r"""//[^\n]*|/\*.*?\*/|(?<=[=(,:!&|?;{}\n])\s*/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/[a-z]*"""
    r"""|"((?:\\.|[^"\\\n])*)"|'(?:\\.|[^'\\\n])*'""",
    re.DOTALL,
)
_HUMAN = re.compile(
    r"^[A-Z][a-z]+(?:[ :…].*)?$|^[A-Za-z, {}<>…]+ .*[a-z].*[.?!:]$|^[A-Z][a-z]* [a-z ]+"
)
"""A string that looks like a text for people."""
_NO_TEXT = re.compile(
    r"^(?:Arrow\w+|Abort\w+|Home|End|Escape|Enter|Tab|Files|Python|Pixelmill|True|False|English)$"
)


def of_script(path: Path) -> Iterator[str]:
    """The texts of a script."""
    source = path.read_text()
    plain, templates = _without_templates(source)
    for match in _JAVASCRIPT.finditer(plain):
        text = match[1]
        if text and _HUMAN.match(text) and not _NO_TEXT.match(text):
            yield text.replace('\\"', '"')
    for match in re.finditer(r'\bt\(\s*(?:[\w.]+, )?((?:"(?:\\.|[^"\\])*"(?:, )?)+)', plain):
        yield from re.findall(r'"((?:\\.|[^"\\])*)"', match[1])
    for template in templates:
        if "<" in template:
            yield from of_html(template)


def of_html(html: str) -> Iterator[str]:
    """The texts and the texts of attributes."""
    parser = _Texts()
    parser.feed(html)
    parser.close()
    for text in parser.found:
        words = " ".join(text.split())
        if re.search(r"[A-Za-z]{2}", re.sub(r"\{\w*\}|\0", "", words)):
            yield words


class _Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._kept = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._kept = ("translate", "no") in attrs
        self.found += [value for name, value in attrs if name in ATTRIBUTES and value]

    def handle_data(self, data: str) -> None:
        if not self._kept:
            self.found.append(data)


def _without_templates(source: str) -> tuple[str, list[str]]:
    """The source without its template strings, and these with a NUL for each value."""
    templates: list[str] = []
    plain, at = [], 0
    for match in re.finditer(
        r"`(?:\\.|\$\{(?:[^{}`]|`[^`]*`|\{[^{}]*\})*\}|[^`\\])*`", source, re.DOTALL
    ):
        before = source[at : match.start()]
        if before.rsplit("\n", 1)[-1].lstrip().startswith(("//", "*", "/*")):
            continue
        templates.append(re.sub(r"\$\{(?:[^{}]|\{[^{}]*\})*\}", "\0", match[0][1:-1]))
        plain.append(before + " ".join(re.findall(r"\$\{(.*?)\}", match[0], re.DOTALL)))
        at = match.end()
    return "".join(plain) + source[at:], templates


def of_python(path: Path) -> Iterator[str]:
    """The messages and hints of errors, and what `t` is given."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = (
            node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        )
        if name == "t" or (ERRORS.fullmatch(name) and node.args):
            yield from map(_written, [node.args[0]])
        for keyword in node.keywords:
            if keyword.arg == "hint":
                yield from map(_written, _strings(keyword.value))


def _strings(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    return [node]


def _written(node: ast.expr) -> str:
    """A string with `{}` for its values; empty for what is none."""
    if isinstance(node, ast.Constant):
        return str(node.value or "")
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    if isinstance(node, ast.BinOp):
        return _written(node.left) + _written(node.right)
    return ""


def of_pages(path: Path) -> Iterator[str]:
    """The texts of the HTML that a Python file has, and of what it passes to `document`."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("document", "alert"):
            yield _written(node.args[0])
    for text in _whole_strings(tree):
        if re.search(r"<[a-z/][^>]*>", text):
            yield from of_html(text)


def everything(path: Path) -> Iterator[str]:
    """All strings of a source, whatever they are for."""
    if path.suffix == ".py":
        yield from _whole_strings(ast.parse(path.read_text()))
        return
    source = path.read_text()
    yield from re.findall(r'"((?:\\.|[^"\\\n])*)"', source)
    yield from of_script(path)


def _whole_strings(tree: ast.AST) -> Iterator[str]:
    """Strings, those with values as one."""
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in parts:
            yield _written(node)


def unnamed(text: str) -> str:
    """A text without the names of its values."""
    return re.sub(r"\{\w*\}", "{}", text)
