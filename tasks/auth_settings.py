"""The settings that say how people are known; tasks/settings.py has all of them."""

from ipaddress import ip_network
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class AuthSettings(BaseSettings):
    """Part of Settings."""

    model_config = SettingsConfigDict(use_attribute_docstrings=True)

    auth: Literal["open", "accounts", "oidc", "proxy"] = "open"
    """How people are known; programs may always send an API key. `open`: each browser gets an
    identity of its own. `accounts`: people sign in with a name and a password. `oidc`: they sign in
    at an OpenID provider. `proxy`: a proxy in front says who they are."""
    oidc_issuer: str = ""
    """Address of the OpenID provider, exactly as it calls itself, for example
    https://login.example.com/realms/photos."""
    oidc_client_id: str = ""
    """What the provider calls this installation."""
    oidc_client_secret: str = Field(default="", repr=False)
    """The secret that the provider gave it. Empty: it is a public client, with PKCE alone."""
    oidc_scope: str = "openid profile email"
    """What is asked of the provider."""
    oidc_acr_values: str = Field("", pattern=r"^[ -~]*$")
    """How strongly the provider must have checked somebody, for example with a second factor: the
    values of its claim `acr` that are accepted, separated by spaces, the preferred one first. They
    are asked for, and an ID token without one of them signs nobody in. Empty: any."""
    oidc_max_age_s: int = Field(0, ge=0)
    """Somebody who signed in at the provider longer ago than this must do so again before they are
    signed in here. 0: however long ago."""
    oidc_user_claim: str = "sub"
    """Claim that is the user's name, for example `email` (if it is verified)."""
    oidc_groups_claim: str = "groups"
    """Claim with the groups that a user is in: see `admin_groups`."""
    proxy_addresses: str = ""
    """Comma-separated addresses or networks whose word counts in `proxy_user_header`; `unix` for a
    Unix socket. Nobody else may be able to connect from them."""
    proxy_user_header: str = Field("X-Forwarded-User", pattern="^[A-Za-z][A-Za-z0-9-]{0,62}$")
    """Header in which the proxy says who somebody is. It must take it off what clients send."""
    proxy_groups_header: str = Field("X-Forwarded-Groups", pattern="^[A-Za-z][A-Za-z0-9-]{0,62}$")
    """Header with the groups that they are in, separated by commas: see `admin_groups`."""
    admin_groups: str = ""
    """Comma-separated groups, of an OpenID provider or a proxy, whose members are admins, and
    nobody else there is. Empty: `pixelmill users role` makes admins."""
    session_idle_hours: float = Field(24, gt=0)
    """A session ends when it was not used for so long. People sign in again then."""
    session_days: float = Field(7, gt=0)
    """A session ends so long after its sign-in, whatever happens."""
    open: str = Field(default="", deprecated=True)
    """Became `auth`."""

    @model_validator(mode="before")
    @classmethod
    def _prefer_auth(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Where both are set, `auth` counts: `var/env` may still have what `open` once was."""
        return {n: value for n, value in values.items() if n != "open" or "auth" not in values}

    @field_validator("oidc_issuer", "oidc_client_id", "proxy_addresses")
    @classmethod
    def _require(cls, value: str, info: ValidationInfo) -> str:
        """A mode without what it needs must not start."""
        mode = info.data.get("auth")
        if not value and str(info.field_name).startswith(f"{mode}_"):
            raise ValueError(f"PIXELMILL_AUTH={mode} needs it")
        return value

    @field_validator("proxy_addresses")
    @classmethod
    def _check_networks(cls, value: str) -> str:
        for name in names_in(value):
            if name != "unix":
                ip_network(name, strict=False)  # a ValueError that says what is wrong
        return value

    @field_validator("open")
    @classmethod
    def _refuse_open(cls, value: str) -> str:
        """PIXELMILL_OPEN=false must not become an open installation unnoticed."""
        if not value:
            return value
        raise ValueError(
            "there is no such setting any more; set PIXELMILL_AUTH=accounts instead of `false`, "
            "and PIXELMILL_AUTH=open instead of `true`"
        )


def names_in(text: str) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]
