"""Whose certificates S3 may have: every client of it, boto3 or not, believes the same ones."""

import ssl
from pathlib import Path

import httpx
from botocore.session import Session


def trusted(ca_file: Path | None) -> str | bool:
    """What botocore takes as `verify`: this file of certificates, else the one that AWS' own
    settings name (`AWS_CA_BUNDLE`), else those that come with Python's packages."""
    return str(ca_file or Session().get_config_variable("ca_bundle") or "") or True


def context(ca_file: Path | None) -> ssl.SSLContext:
    """The same for httpx."""
    bundle = trusted(ca_file)
    if isinstance(bundle, str):
        return ssl.create_default_context(cafile=bundle)
    return httpx.create_ssl_context(trust_env=False)
