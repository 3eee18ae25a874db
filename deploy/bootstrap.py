"""What an installation needs before its first request: the bucket and the first account."""

import secrets

import redis

from storage import api_keys, keys, passwords, schema, users
from storage.redis.calls import TEXT, SyncRedis, command
from storage.redis.durable import do_durably
from storage.s3.objects import S3Objects
from tasks.clients import objects
from tasks.errors import BadInput
from tasks.settings import settings


def prepare(state: SyncRedis, store: S3Objects, *, password: str) -> tuple[bool, bool]:
    """Make the bucket and the account `admin`; returns whether each of them is new.

    The password is a first one, which its owner has to replace; if that was not done yet, it lasts
    anew. A password of their own stays. Raises OldLayout if an earlier Pixelmill wrote the records
    of this Redis.
    """
    schema.refuse_old_layout(state)
    known = state.do(users.credentials("admin"))
    is_new = known.password is None
    if is_new:
        do_durably(state, users.set_password("admin", password, first_ms=users.FIRST_PASSWORD_MS))
    elif known.first_until_ms and passwords.is_password(known.password, password):
        call = users.reset_password("admin", password, first_ms=users.FIRST_PASSWORD_MS)
        do_durably(state, call)
    has_made = store.ensure_bucket()
    # Last, so that a preparation that was interrupted is done again.
    state.do(command(bool, "SET", keys.PREPARED, 1, kinds=TEXT))
    return has_made, is_new


def main(origin: str | None = None) -> None:
    """`pixelmill init`: prepares the Redis and S3 of the settings; prints a new account's password
    and key, once.

    `origin`: address of the page, which S3 then lets browsers read from and write to. Without it,
    that of PIXELMILL_PUBLIC_URL if PIXELMILL_S3_PUBLIC_URL sends browsers to S3 itself: under the
    page's own address they need no rule, which many a key may not write.
    """
    store = objects()
    if not isinstance(store, S3Objects):
        raise BadInput(f"PIXELMILL_S3_URL={settings().s3_url} is not an S3 server")
    client = redis.Redis.from_url(settings().state_url, socket_timeout=5)
    state = SyncRedis(client, "the state Redis")
    password = secrets.token_urlsafe(12)
    has_bucket, has_admin = prepare(state, store, password=password)
    print(f"bucket {settings().s3_bucket}: {'created' if has_bucket else 'exists already'}")
    if has_admin:
        _print_admin(state, password)
    else:
        print("account admin: keeps its password; `pixelmill keys add admin` makes an API key")
    page = origin or (settings().s3_public_url and settings().public_origin)
    if page:
        store.allow_origin(page.rstrip("/"))
        print(f"browsers on {page} may read from and write to the bucket")


def _print_admin(state: SyncRedis, password: str) -> None:
    secret = api_keys.new_secret()
    do_durably(state, api_keys.add(secret, "admin", name="pixelmill init"))
    print(f"account admin: first password {password}\nAPI key: {secret}")
    print("Write both down: they are not shown again. Within three days, the password lets you")
    print("choose one of your own at /login; it opens nothing else.")
