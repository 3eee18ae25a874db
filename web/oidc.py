"""Sign-in by an OpenID provider: the authorization code flow with state, nonce and PKCE.

OpenID Connect Core 1.0, and RFC 7636 for PKCE. Authlib speaks to the provider and checks the ID
token; this module says what is asked for and what is believed.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic, time
from typing import Any, cast
from urllib.parse import urlencode

import httpx2
import structlog
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.requests import Request

import storage.oidc
from storage.oidc import OnItsWay
from storage.redis.calls import AsyncRedis
from tasks.errors import JobError, Unavailable
from tasks.settings import settings
from web.groups import role_of
from web.middleware.cookies import OIDC_S
from web.middleware.validation import USER, matches
from web.names import VISITOR
from web.sign_in import Person

log = structlog.get_logger()

CALLBACK = "/login/callback"
"""Path to which the provider sends browsers back: its address must be registered there."""
TIMEOUT_S = 5.0
METADATA_S = 3600.0
"""How long the provider's description and keys are used before they are asked for again."""
LEEWAY_S = 60
"""By how much the provider's clock may differ from ours."""
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Signatures by a key pair: with others, whoever knows our client secret could write ID tokens."""
_ADDRESS = re.compile(r"https?://[\x21\x23-\x3a\x3c-\x7e]+")
"""What may stand in the header Refresh."""


class Refused(JobError):
    """The provider, or what it says, does not let somebody in."""

    code = "sign_in_refused"
    status = 403


class ProviderDown(Unavailable):
    """The provider does not answer."""

    code = "provider_unavailable"


@dataclass(frozen=True)
class Begun:
    """A sign-in that has begun: what must come back with it."""

    url: str
    """Where the browser goes."""
    state: str
    nonce: str
    verifier: str


def failed() -> Refused:
    """The error of a sign-in that the provider did not finish."""
    return Refused("nobody was signed in at the provider", hint="Sign in again.")


class Oidc:
    """Sign-ins at the OpenID provider of the settings. Methods raise StorageDown as Redis does."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state, self._provider = state, Provider()

    async def begin(self, callback: str) -> tuple[str, str]:
        """Where to send the browser, and the state that it must bring back to `callback`."""
        begun = await self._provider.begin(callback)
        on_its_way = OnItsWay(begun.nonce, begun.verifier)
        await self._state.do(storage.oidc.begin(begun.state, on_its_way, OIDC_S))
        return begun.url, begun.state

    async def finish(self, callback: str, state: str, code: str) -> Person:
        """Whom the provider names; once for each state. Raises Refused or ProviderDown."""
        begun = await self._state.do(storage.oidc.take(state))
        if begun is None:
            raise failed()
        return await self._provider.finish(callback, code, begun)

    async def sign_out_address(self, back: str, id_token: str) -> str:
        """Where the provider ends its own session, and then sends the browser to `back`; empty if
        it has no such address. Raises ProviderDown."""
        return await self._provider.sign_out_address(back, id_token)


def oidc_of(request: Request) -> Oidc:
    """The sign-ins at the provider of the app that serves this request."""
    return cast(Oidc, request.app.state.oidc)


class Provider:
    """The OpenID provider of the settings."""

    def __init__(self) -> None:
        self._metadata: Mapping[str, Any] = {}
        self._keys = KeySet([])
        self._until_s = 0.0

    async def begin(self, callback: str) -> Begun:
        """Where to send the browser; `callback` is the address that it comes back to."""
        metadata = await self._known()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        async with self._client(callback) as client:
            url, _ = client.create_authorization_url(
                metadata["authorization_endpoint"],
                state=state,
                code_verifier=verifier,
                nonce=nonce,
                **_strength(),
            )
        return Begun(url, state, nonce, verifier)

    async def finish(self, callback: str, code: str, begun: OnItsWay) -> Person:
        """Whom the provider names for this code. Raises Refused or ProviderDown."""
        metadata = await self._known()
        try:
            async with self._client(callback) as client:
                token = await client.fetch_token(
                    metadata["token_endpoint"], code=code, code_verifier=begun.verifier
                )
                claims = await self._claims(token, begun.nonce)
                if missing := set(_wanted()) - claims.keys():
                    claims = await _completed(client, metadata, claims, missing)
        except (AuthlibBaseError, JoseError, KeyError, TypeError, ValueError) as error:
            log.warning("sign-in by OpenID refused", reason=type(error).__name__)
            raise Refused("the provider's answer is not valid", hint="Sign in again.") from error
        except httpx2.HTTPError as error:
            raise _down(error) from error
        return replace(person(claims), id_token=token["id_token"])

    async def sign_out_address(self, back: str, id_token: str) -> str:
        """As Oidc's."""
        address = (await self._known()).get("end_session_endpoint")
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            return ""
        asked = {"client_id": settings().oidc_client_id, "post_logout_redirect_uri": back}
        if id_token:
            asked["id_token_hint"] = id_token
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"

    def _client(self, callback: str) -> Any:
        return AsyncOAuth2Client(
            settings().oidc_client_id,
            settings().oidc_client_secret or None,
            token_endpoint_auth_method=None if settings().oidc_client_secret else "none",
            scope=settings().oidc_scope,
            redirect_uri=callback,
            code_challenge_method="S256",
            timeout=TIMEOUT_S,
        )

    async def _known(self) -> Mapping[str, Any]:
        """The provider's description of itself."""
        if self._until_s < monotonic():
            await self._read()
        return self._metadata

    async def _read(self) -> None:
        issuer = settings().oidc_issuer
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_S) as client:
                metadata = (await client.get(url)).raise_for_status().json()
                found = (await client.get(metadata["jwks_uri"])).raise_for_status().json()
            keys = KeySet.import_key_set(found)
        except (httpx2.HTTPError, JoseError, KeyError, TypeError, ValueError) as error:
            raise _down(error) from error
        if metadata.get("issuer") != issuer:
            log.error("the OpenID provider calls itself otherwise", issuer=metadata.get("issuer"))
            raise Refused("the provider is not the one of PIXELMILL_OIDC_ISSUER")
        self._metadata, self._keys = metadata, keys
        self._until_s = monotonic() + METADATA_S

    async def _claims(self, token: Mapping[str, Any], nonce: str) -> Mapping[str, Any]:
        """What the ID token says, once its signature and all that it claims are checked."""
        issuer, client_id = settings().oidc_issuer, settings().oidc_client_id
        decoded = await self._decoded(token["id_token"])
        claims = CodeIDToken(
            decoded.claims,
            decoded.header,
            {"iss": {"essential": True, "value": issuer}, "aud": {"value": client_id}},
            {"nonce": nonce, "client_id": client_id, "access_token": token["access_token"]},
        )
        claims.validate(int(time()), LEEWAY_S)
        _check_strength(claims)
        return dict(claims)

    async def _decoded(self, id_token: str) -> jwt.Token:
        try:
            return jwt.decode(id_token, self._keys, algorithms=ALGORITHMS)
        except (JoseError, ValueError):  # the provider may have new keys
            await self._read()
            return jwt.decode(id_token, self._keys, algorithms=ALGORITHMS)


def person(claims: Mapping[str, Any]) -> Person:
    """Whom these claims name. Raises Refused if the one that is to be the name is not there."""
    wanted = settings().oidc_user_claim
    subject = f"{claims['iss']} {claims['sub']}"
    name = claims.get(wanted)
    if not isinstance(name, str) or not name:
        raise Refused(f"the provider does not say your `{wanted}`", hint="Ask an admin.")
    if wanted == "email" and claims.get("email_verified") is not True:
        raise Refused("the provider has not verified your e-mail address")
    if not matches(USER, name) or matches(VISITOR, name):
        name = f"oidc-{hashlib.sha256(subject.encode()).hexdigest()[:24]}"
    groups = claims.get(settings().oidc_groups_claim, ())
    return Person(name, subject, role_of([groups] if isinstance(groups, str) else groups))


def _strength() -> dict[str, str]:
    """What is asked of the provider about how, and how recently, it has checked somebody."""
    asked = {"acr_values": settings().oidc_acr_values, "max_age": settings().oidc_max_age_s}
    return {name: str(value) for name, value in asked.items() if value}


def _check_strength(claims: Mapping[str, Any]) -> None:
    """Raises Refused unless the ID token says what was asked for: a provider may ignore that."""
    accepted, max_age_s = settings().oidc_acr_values.split(), settings().oidc_max_age_s
    if accepted and claims.get("acr") not in accepted:
        raise Refused(
            "the provider has not checked who you are as strongly as is asked for here",
            hint="Sign in there with a second factor.",
        )
    if max_age_s and time() - float(claims.get("auth_time") or 0) > max_age_s + LEEWAY_S:
        raise Refused(
            "you signed in at the provider too long ago", hint="Sign out there, and sign in again."
        )


def _wanted() -> list[str]:
    groups = [settings().oidc_groups_claim] if settings().admin_groups else []
    return [settings().oidc_user_claim, *groups]


async def _completed(
    client: Any, metadata: Mapping[str, Any], claims: Mapping[str, Any], missing: set[str]
) -> Mapping[str, Any]:
    """The claims with those that only the provider's userinfo endpoint says."""
    if "userinfo_endpoint" not in metadata:
        return claims
    found = (await client.get(metadata["userinfo_endpoint"])).raise_for_status().json()
    if found.get("sub") != claims["sub"]:
        raise ValueError("userinfo is of another user")
    more = {*missing, "email_verified"}
    return {**{name: found[name] for name in more if name in found}, **claims}


def _down(error: Exception) -> ProviderDown:
    log.warning("the OpenID provider does not answer", reason=str(error) or type(error).__name__)
    return ProviderDown("the OpenID provider does not answer", hint="Try again in a minute.")
