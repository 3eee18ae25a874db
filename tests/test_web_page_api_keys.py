"""The pages of one's account: keys are made, shown once, listed and revoked; data are erased."""

import re
from collections.abc import Iterator

import httpx
import pytest
from stack import Stack

PAGE = "/account/keys"


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A web process with both Redis and S3, and nobody who works."""
    with Stack(tmp_path_factory.mktemp("keys-page")) as mill:
        mill.start_servers()
        mill.start_web()
        yield mill


@pytest.fixture
def browser(mill: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=mill.url, follow_redirects=True) as browser:
        browser.get(PAGE).raise_for_status()
        yield browser


def make(browser: httpx.Client, **form: object) -> tuple[str, str]:
    """The new key, and the page that shows it."""
    asked = {"name": "laptop", "days": "30", "scope": ["read"], **form}
    text = browser.post(f"{PAGE}/add", data=asked).text
    [secret] = re.findall(r"<code>(pm_[\w-]{40,})</code>", text)
    return secret, text


def test_a_key_that_the_page_makes_is_shown_once_and_opens(browser: httpx.Client) -> None:
    secret, text = make(browser)

    with httpx.Client(headers={"Authorization": f"Bearer {secret}"}) as program:
        me = program.get(f"{browser.base_url}/api/v1/me").json()

    assert me["scopes"] == ["read"]
    assert me["user"] in text
    again = browser.get(PAGE)
    assert secret not in again.text and secret[:10] in again.text
    assert again.headers["cache-control"] == "no-store"


def test_the_page_revokes_a_key(browser: httpx.Client) -> None:
    make(browser, name="to be revoked")
    [key_id] = re.findall(r'value="([0-9a-f]{16})"', browser.get(PAGE).text)

    answer = browser.post(f"{PAGE}/revoke", data={"id": key_id})

    assert answer.status_code == 200 and "You have none." in answer.text


@pytest.mark.parametrize(
    "form", [{"scope": []}, {"scope": ["all"]}, {"days": "7"}, {"name": "a\nb"}]
)
def test_the_page_says_what_is_wrong_with_a_form(
    browser: httpx.Client, form: dict[str, object]
) -> None:
    asked = {"name": "laptop", "days": "30", "scope": ["read"], **form}

    answer = browser.post(f"{PAGE}/add", data=asked)

    assert answer.status_code == 422 and 'role="alert"' in answer.text
    assert "You have none." in answer.text


def test_a_name_is_shown_as_text(browser: httpx.Client) -> None:
    _, text = make(browser, name="<script>alert(1)</script>")

    assert "<script>" not in text and "&lt;script&gt;" in text


def test_another_site_makes_no_key(browser: httpx.Client) -> None:
    asked = {"name": "theirs", "scope": ["read"]}

    answer = browser.post(f"{PAGE}/add", data=asked, headers={"Origin": "https://evil.example"})

    assert answer.status_code == 403
    assert "You have none." in browser.get(PAGE).text


def test_a_key_without_the_scope_admin_does_not_open_the_page(browser: httpx.Client) -> None:
    secret, _ = make(browser)

    answer = httpx.get(f"{browser.base_url}{PAGE}", headers={"Authorization": f"Bearer {secret}"})

    assert answer.status_code == 403


def test_visitors_have_an_account_too_with_all_its_parts(browser: httpx.Client) -> None:
    page = browser.get("/account").text

    assert "<p>Visitor</p>" in page and 'href="/login"' in page
    assert 'action="/logout"' not in page, "nobody has signed in"
    for path in ("/account/keys", "/account/data"):
        assert f'href="{path}"' in page and browser.get(path).status_code == 200


def test_the_page_says_how_long_data_are_kept_and_erases_them(browser: httpx.Client) -> None:
    make(browser)
    page = browser.get("/account/data").text

    erased = browser.post("/account/data/erase")

    assert "removed after 24 hours, results after 7 days" in page and "/me/export" in page
    assert erased.status_code == 200 and "Nothing of yours is left" in erased.text
    assert erased.headers["clear-site-data"] == '"cache", "storage"'
    assert "You have none." in browser.get(PAGE).text
