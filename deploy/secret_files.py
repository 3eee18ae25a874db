"""`python -m deploy.secret_files FOLDER HOST` writes the files of secrets that compose.yaml mounts.

A file that exists is left as it is: a certificate of your own, or the URL of a Redis of your own.
Only what Redis' accounts may do is written anew, as another version may need other rights.
"""

import hashlib
import os
import secrets
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy import redis_users

DAYS = 825
"""Life of a certificate that we have signed ourselves: as long as browsers accept one."""
_TLS = ("tls_certificate", "tls_key")
_RIGHTS = ("cache_users", "state_users")


def write(folder: Path, host: str) -> list[str]:
    """Write what is missing; returns the names of the files that are new.

    Containers run as users of their own and read single files, so that each is readable; the folder
    itself opens for its owner alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    wanted = _passwords(folder)
    if not all((folder / name).exists() for name in _TLS):
        wanted |= dict(zip(_TLS, certificate(host), strict=True))
    new = [name for name in wanted if not (folder / name).exists()]
    for name in {*new, *_RIGHTS}:
        (folder / f"{name}.new").write_text(wanted[name])
        (folder / f"{name}.new").chmod(0o444)
        (folder / f"{name}.new").replace(folder / name)
    return new


def _passwords(folder: Path) -> dict[str, str]:
    """Name of a file -> its text."""
    roles = {"admin": "default", "web": redis_users.WEB, "worker": redis_users.WORKER}
    known = {role: _password(folder / f"state_url_{role}") for role in roles}
    cache = _password(folder / "cache_url")
    rules: Mapping[str, list[str]] = {"default": ["~*", "&*", "+@all"], **redis_users.RULES}
    users = [_user(account, known[role], rules[account]) for role, account in roles.items()]
    return {
        "pixelmill_secret": secrets.token_urlsafe(32),
        "pixelmill_s3_key": secrets.token_hex(10),
        "pixelmill_s3_secret": secrets.token_hex(20),
        "flower_password": secrets.token_urlsafe(12),
        "cache_url": f"redis://:{cache}@cache:6379/0",
        "cache_users": _user("default", cache, rules["default"]),
        "state_users": "".join(users),
        **{
            f"state_url_{role}": f"redis://{account}:{known[role]}@state:6379/0"
            for role, account in roles.items()
        },
    }


def _password(url: Path) -> str:
    """The one of an address that is there already, else a new one."""
    if url.exists():
        return url.read_text().rpartition("@")[0].rpartition(":")[2]
    return secrets.token_hex(24)


def _user(name: str, password: str, rules: list[str]) -> str:
    """A line of Redis' ACL file."""
    return f"user {name} on #{hashlib.sha256(password.encode()).hexdigest()} {' '.join(rules)}\n"


def certificate(host: str) -> tuple[str, str]:
    """A certificate for this name or address, signed by its own key, and the key; both as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([_name_of(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(pem).decode(), secret.decode()


def _name_of(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def main(words: list[str]) -> int:
    """Write them, and say which are new."""
    if len(words) != 2:
        print("usage: python -m deploy.secret_files FOLDER HOST", file=sys.stderr)
        return 2
    os.umask(0o077)
    new = write(Path(words[0]), words[1])
    print(f"new secrets: {', '.join(new) or 'none, all are there'}")
    if "tls_certificate" in new:
        print("tls_certificate is signed by itself: browsers warn of it until you replace it and")
        print("tls_key by those of your own")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
