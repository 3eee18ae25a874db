"""Me: who asks, what they may do, and their API keys."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypedDict

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from tasks.errors import BadInput
from web.api import me_schemas, schemas
from web.api.routing import ParsedRoute
from web.api_keys import MOST_KEYS, KeyBody, api_keys_of, as_json, expiry_ms, ordered
from web.errors import json_response
from web.jobs.quotas import Allowance
from web.jobs.retention import Retention, retention
from web.jobs.service import service_of
from web.middleware.identity import Identity, identity_of
from web.middleware.scopes import NotAllowed
from web.middleware.validation import KEY_ID, matches
from web.payer import payer_of
from web.text import shown

router = APIRouter(prefix=schemas.PREFIX, tags=schemas.TAGS, route_class=ParsedRoute)

KeyId = Annotated[
    str,
    Path(
        description="The id of one of your API keys.",
        json_schema_extra={"pattern": f"^{KEY_ID.pattern}$"},
    ),
]


class LimitBody(TypedDict):
    """me_schemas.Limit."""

    limit: int | None
    used: int
    left: int | None
    window_s: int | None
    resets_in_s: int | None


class MeBody(TypedDict):
    """me_schemas.Me."""

    user: str
    kind: str
    role: Literal["user", "admin"]
    scopes: Sequence[str]
    kept: Retention
    limits: Mapping[str, LimitBody]


class NewKeyBody(KeyBody):
    """me_schemas.NewKey."""

    key: str


@router.get("/me", responses={200: {"model": me_schemas.Me}, **schemas.FAILURES})
async def get_me(request: Request) -> Response:
    """Who you are to this server, what you may do, and what is left of your quotas."""
    identity = identity_of(request)
    body: MeBody = {
        "user": identity.user,
        "kind": identity.kind,
        "role": identity.role,
        "scopes": ordered(identity.scopes),
        "kept": retention(),
        "limits": {
            item.name: _limit(item)
            for item in await service_of(request).quotas.read(payer_of(identity))
        },
    }
    return json_response(body)


@router.get("/me/keys", responses={200: {"model": me_schemas.Keys}, **schemas.FAILURES})
async def list_keys(request: Request) -> Response:
    """Your API keys, the oldest first. The keys themselves are not known to the server."""
    found = await api_keys_of(request).of_user(identity_of(request).user)
    return json_response({"keys": [as_json(key) for key in found]})


@router.post(
    "/me/keys",
    status_code=201,
    responses={
        **schemas.FAILURES,
        201: {"model": me_schemas.NewKey},
        409: {"model": schemas.Failure, "description": "You have too many keys."},
    },
)
async def add_key(request: Request, body: me_schemas.KeyRequest) -> Response:
    """Make an API key. The answer is the only one that has the key itself.

    A key can make others with the scopes that it has itself, and with no more, and they end when it
    does at the latest.
    """
    identity = identity_of(request)
    _check_scopes(identity, body.scopes)
    ends = [end for end in (expiry_ms(body.days), identity.expires_ms) if end]
    made = await api_keys_of(request).add(
        identity, name=body.name, scopes=body.scopes, expires_ms=min(ends, default=0)
    )
    if made is None:
        raise BadInput(
            f"you have {MOST_KEYS} API keys already",
            code="too_many_keys",
            status=409,
            hint="Delete some that are not in use.",
        )
    secret, key = made
    new: NewKeyBody = {**as_json(key), "key": secret}
    return json_response(new, 201, {"cache-control": "no-store"})


@router.delete("/me/keys/{key_id}", status_code=204, responses=schemas.FAILURES)
async def revoke_key(request: Request, key_id: KeyId) -> Response:
    """End one of your API keys: within five seconds, no process accepts it any more."""
    is_revoked = matches(KEY_ID, key_id) and await api_keys_of(request).revoke(
        identity_of(request), key_id
    )
    if not is_revoked:
        raise BadInput(f"no API key {shown(key_id)}", code="no_key", status=404)
    return Response(status_code=204)


def _check_scopes(identity: Identity, wanted: Sequence[str]) -> None:
    """Raises NotAllowed for scopes that the identity itself does not have."""
    if missing := [scope for scope in wanted if scope not in identity.scopes]:
        raise NotAllowed(
            f"this API key cannot make one with the scope `{missing[0]}`, as it lacks that itself",
            code="missing_scope",
        )


def _limit(item: Allowance) -> LimitBody:
    return {
        "limit": item.most or None,
        "used": item.used,
        "left": item.left if item.most else None,
        "window_s": item.window_s or None,
        "resets_in_s": item.resets_in_s or None,
    }
