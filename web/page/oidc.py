"""The way to the OpenID provider and back."""

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from tasks.errors import BadInput, JobError
from web.middleware import cookies
from web.middleware.hosts import address_of
from web.middleware.validation import HEAD
from web.oidc import CALLBACK, failed, oidc_of
from web.page.html import alert, document, sentence
from web.sign_in import client_in, sign_in_of

router = APIRouter(include_in_schema=False)


@router.get("/login/start")
async def start(request: Request) -> Response:
    """Send the browser to the provider."""
    try:
        url, state = await oidc_of(request).begin(address_of(request, CALLBACK))
    except JobError as error:
        return refusal(error)
    return RedirectResponse(url, 303, {"set-cookie": cookies.set_oidc(state)})


@router.get(CALLBACK)
async def finish(request: Request, state: str = "", code: str = "", error: str = "") -> Response:
    """The provider has sent the browser back: begin a session, or say why not."""
    try:
        _check_browser(request, state)
        if error or not code:
            raise failed()
        person = await oidc_of(request).finish(address_of(request, CALLBACK), state, code)
        begun = await sign_in_of(request).by_provider(person, client_in(request))
    except JobError as failure:
        return refusal(failure)
    cookie = cookies.set_session(begun.user, begun.token)
    answer = RedirectResponse("/ui/", 303, {"set-cookie": cookie})
    answer.headers.append("set-cookie", cookies.set_oidc(""))
    return answer


def refusal(error: JobError) -> Response:
    """Why nobody was signed in, and a way to try again."""
    again = '<p><a class="button" href="/login/start">Sign in</a></p>'
    return document("sign in", f"<h1>Sign in</h1>{alert(sentence(error))}{again}", error.status)


def _check_browser(request: Request, state: str) -> None:
    """Another's link to this address signs nobody in as that other."""
    cookie = request.scope[HEAD].get(b"cookie", b"")
    if not state or cookies.value_of(cookie, cookies.OIDC) != state:
        raise BadInput(
            "this sign-in did not begin in this browser, or it took too long",
            code="bad_request",
            status=400,
            hint="Sign in again.",
        )
