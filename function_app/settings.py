"""The settings of the control plane, read from environment variables once. docs/settings.md describes each; a test compares.

Nothing here opens a file or a connection.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

NOTIFIER_NAMES = ("log", "outbox", "webhook")


class SettingsError(Exception):
    """A setting is missing or makes no sense. The text names the variable and what it should be; never its value if that is a secret."""


class Settings(msgspec.Struct, frozen=True):
    """What the environment says. Times are seconds."""

    data_dir: Path
    store: Path
    public_url: str
    bootstrap_admin_key: str = ""
    open_reviews_per_agent: int = 20
    grant_lifetime: int = 3600
    signin_lifetime: int = 8 * 3600
    link_lifetime: int = 24 * 3600
    notifiers: tuple[str, ...] = ("log",)
    webhook_url: str = ""
    webhook_secret: str = ""

    def __repr__(self) -> str:
        return f"Settings(data_dir={self.data_dir}, public_url={self.public_url!r})"


VARIABLES = (
    "SALLYPORT_DATA_DIR",
    "SALLYPORT_STORE",
    "SALLYPORT_PUBLIC_URL",
    "SALLYPORT_BOOTSTRAP_ADMIN_KEY",
    "SALLYPORT_OPEN_REVIEWS_PER_AGENT",
    "SALLYPORT_GRANT_LIFETIME",
    "SALLYPORT_SIGNIN_LIFETIME",
    "SALLYPORT_LINK_LIFETIME",
    "SALLYPORT_NOTIFIERS",
    "SALLYPORT_WEBHOOK_URL",
    "SALLYPORT_WEBHOOK_SECRET",
    "SALLYPORT_FAILPOINT",
    "SALLYPORT_FAILPOINT_FILE",
)
"""Every variable that the control plane reads; the last two are for `failpoints` alone."""


def read(environment: Mapping[str, str]) -> Settings:
    """Return the settings; raise `SettingsError` naming the first variable that is wrong."""
    data_dir = environment.get("SALLYPORT_DATA_DIR", "")
    if not data_dir:
        raise SettingsError("SALLYPORT_DATA_DIR is not set: name the directory that holds the store and the keys")
    store = environment.get("SALLYPORT_STORE") or f"sqlite:///{Path(data_dir).absolute()}/control-plane.db"
    if not store.startswith("sqlite:///"):
        raise SettingsError(f"SALLYPORT_STORE: {store.split(':', 1)[0]!r} is not a store; use sqlite:///PATH")
    return Settings(
        data_dir=Path(data_dir).absolute(),
        store=Path(store.removeprefix("sqlite:///")).absolute(),
        public_url=_url(environment, "SALLYPORT_PUBLIC_URL", _platform_url(environment)),
        bootstrap_admin_key=_bootstrap(environment),
        open_reviews_per_agent=_positive(environment, "SALLYPORT_OPEN_REVIEWS_PER_AGENT", 20),
        grant_lifetime=_positive(environment, "SALLYPORT_GRANT_LIFETIME", 3600),
        signin_lifetime=_positive(environment, "SALLYPORT_SIGNIN_LIFETIME", 8 * 3600),
        link_lifetime=_positive(environment, "SALLYPORT_LINK_LIFETIME", 24 * 3600),
        notifiers=_notifiers(environment),
        webhook_url=_url(environment, "SALLYPORT_WEBHOOK_URL", ""),
        webhook_secret=environment.get("SALLYPORT_WEBHOOK_SECRET", ""),
    )


def _positive(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise SettingsError(f"{name}: {text!r} is not a whole number of at least 1")
    return int(text)


def _url(environment: Mapping[str, str], name: str, default: str) -> str:
    text = (environment.get(name) or default).rstrip("/")
    if text and (urlsplit(text).scheme not in ("http", "https") or not urlsplit(text).netloc):
        raise SettingsError(f"{name}: {text!r} is not an http:// or https:// URL")
    return text


def _platform_url(environment: Mapping[str, str]) -> str:
    """The address that Azure gives a function app; "" elsewhere: then the first edge or administrator that calls shows it."""
    host = environment.get("WEBSITE_HOSTNAME", "")
    return f"https://{host}" if host else ""


def _bootstrap(environment: Mapping[str, str]) -> str:
    key = environment.get("SALLYPORT_BOOTSTRAP_ADMIN_KEY", "")
    if key and (not key.startswith("spm_") or len(key) < 36):
        raise SettingsError(
            "SALLYPORT_BOOTSTRAP_ADMIN_KEY: it must begin with spm_ and carry at least 32 further characters"
        )
    return key


def _notifiers(environment: Mapping[str, str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in environment.get("SALLYPORT_NOTIFIERS", "log").split(",") if name.strip())
    for name in names:
        if name not in NOTIFIER_NAMES:
            raise SettingsError(
                f"SALLYPORT_NOTIFIERS: {name!r} is not a notifier; there are: {', '.join(NOTIFIER_NAMES)}"
            )
    if "webhook" in names and not environment.get("SALLYPORT_WEBHOOK_URL"):
        raise SettingsError("SALLYPORT_NOTIFIERS names webhook, but SALLYPORT_WEBHOOK_URL is not set")
    return names
