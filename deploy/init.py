"""What an installation needs before its first request: the bucket, and the first account."""

import secrets

import redis

from storage import users
from storage.calls import Sync
from storage.objects import S3Objects
from tasks.errors import BadInput
from tasks.resources import objects
from tasks.settings import settings


def prepare(state: Sync, store: S3Objects, *, password: str, api_key: str) -> bool:
    """Make the bucket, the account `admin` and its API key; True if the bucket is new."""
    state.do(users.set_password("admin", password))
    state.do(users.add_key(api_key, "admin"))
    return store.ensure_bucket()


def main(origin: str | None = None) -> None:
    """`pixelmill init`: on the Redis and S3 of the settings; prints password and key once."""
    store = objects()
    if not isinstance(store, S3Objects):
        raise BadInput(f"PIXELMILL_S3_URL={settings().s3_url} is not an S3 server")
    state = Sync(redis.Redis.from_url(settings().state_url, socket_timeout=5), "the state Redis")
    password, api_key = secrets.token_urlsafe(12), f"pm_{secrets.token_urlsafe(24)}"
    is_new = prepare(state, store, password=password, api_key=api_key)
    print(f"bucket {settings().s3_bucket}: {'created' if is_new else 'was there'}")
    page = origin or settings().public_url
    if page:
        store.allow_origin(page.rstrip("/"))
        print(f"pages of {page} may PUT to and GET from it")
    print(f"account admin, password {password}\nAPI key {api_key}\nBoth are shown this once.")
