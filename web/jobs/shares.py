"""Links that show one picture of a result to whoever has them, until they expire or are revoked."""

import base64
import hmac
import re
import secrets
import time
from collections.abc import Sequence

import orjson

from storage import object_keys, shares
from storage.jobs.result import StoredResult
from storage.jobs.snapshots import Snapshot
from storage.redis.calls import AsyncRedis
from storage.shares import MOST as MOST  # as the next one
from storage.shares import Share as Share  # routes name it by this module
from tasks.errors import BadInput
from tasks.settings import settings
from web.jobs.retention import result_life_s
from web.live.watcher import no_job
from web.text import shown

TOKEN = re.compile("[0-9a-f]{32}[A-Za-z0-9_-]{22}")
MAC_BYTES = 16


class Shares:
    """The links that one web process makes, lists, revokes and follows."""

    def __init__(self, state: AsyncRedis) -> None:
        self._state = state

    async def add(self, job: Snapshot, name: str, life_s: float) -> Share:
        """A link to the picture `name` of this job, for `life_s` or until its result is removed.

        Raises BadInput: 404 where there is no such picture, 403 where links are off, 409 for a user
        who has too many.
        """
        if not settings().share_days:
            raise BadInput(
                "this server makes no links to pictures",
                code="shares_off",
                status=403,
                hint="The setting PIXELMILL_SHARE_DAYS allows them.",
            )
        share = _new(job, name, min(life_s, settings().share_days * 86_400))
        outcome = await self._state.do(shares.add(share))
        if outcome == "too_many":
            raise BadInput(
                f"you have {MOST} links, which is the limit",
                code="too_many_shares",
                status=409,
                hint="Revoke one of them first: GET /api/v1/shares lists them.",
            )
        if outcome != "ok":  # the job was deleted meanwhile
            raise no_job(share.job)
        return share

    async def of_user(self, user: str) -> Sequence[Share]:
        """The links of this user that still work."""
        return await self._state.do(shares.of_user(user))

    async def revoke(self, user: str, share_id: str) -> None:
        """End a link. Raises BadInput (404) if this user has no such link."""
        if not await self._state.do(shares.revoke(user, share_id=share_id)):
            raise BadInput(f"no link {shown(share_id)}", code="no_share", status=404)

    async def revoke_of_job(self, user: str, job_id: str) -> None:
        """End all links of a job."""
        await self._state.do(shares.revoke(user, job=job_id))

    async def follow(self, token: str) -> Share:
        """The link with this token. Raises BadInput (404) unless it works."""
        share_id = token[:32]
        if not TOKEN.fullmatch(token) or not hmac.compare_digest(token_of(share_id), token):
            raise no_link()
        share = await self._state.do(shares.read(share_id))
        if share is None:
            raise no_link()
        return share


def token_of(share_id: str) -> str:
    """What the link says: the id and a signature, so that nobody can try ids, nor read links out of
    a copy of Redis."""
    mac = hmac.digest(settings().secret.encode(), f"share:{share_id}".encode(), "sha256")
    return share_id + base64.urlsafe_b64encode(mac[:MAC_BYTES]).decode().rstrip("=")


def no_link() -> BadInput:
    """The error for a link that does not work, whatever the reason."""
    return BadInput(
        "this link shows nothing: it has expired, or was revoked", code="no_share", status=404
    )


def _new(job: Snapshot, name: str, life_s: float) -> Share:
    result: StoredResult | None = orjson.loads(job.fields.get("result") or "null")
    pictures = result["objects"] if result else {}
    image = pictures.get(name)
    if image is None:
        names = ", ".join(pictures) or "none"
        raise BadInput(
            f"this job has no picture {shown(name)}; there are: {names}",
            code="no_object",
            status=404,
        )
    now_s = time.time()
    made_s = object_keys.edition_made_s(image["key"]) or now_s
    expires_s = min(now_s + life_s, made_s + result_life_s())
    return Share(
        secrets.token_hex(16), job.fields["user"], job.fields["id"], name, image["key"],
        image["type"], int(expires_s * 1000), int(now_s * 1000),
    )  # fmt: skip
