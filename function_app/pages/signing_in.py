"""Signed-in browsers: a signed cookie that expires and can be revoked, and form tokens bound to it.

The cookie is `id.expires.mac`; the id stands in the store, with the key that was used, so signing out or revoking the key ends it.
SameSite=Strict keeps other sites from using it; the form token (CSRF) and the Origin check stand behind that.
"""

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from function_app.access import NOBODY, Call, Principal, Role, principal_of
from function_app.composition import Services
from function_app.stores.base import SignIn, StoreError
from gateway_kernel.model import SECOND

COOKIE = "sallyport_sign_in"


class Browser:
    """Who sits at the browser that sent this request. `principal` is NOBODY unless signed in as a person that approves."""

    def __init__(self, app: Services, identifier: str = "", principal: Principal = NOBODY) -> None:
        self._app = app
        self.identifier = identifier
        self.principal = principal

    @property
    def form_token(self) -> str:
        return self._app.keys.mac("form", self.identifier) if self.identifier else ""

    def require_form_token(self, given: str) -> None:
        """`StoreError` 403 unless the form was made for this sign-in."""
        if not self.identifier or not given.isascii() or not self._app.keys.mac_holds(given, "form", self.identifier):
            raise StoreError(
                "bad-form", 403, "This form was not made for your sign-in. Load the page again and send it from there."
            )


async def browser(call: Call) -> Browser:
    """Read the cookie."""
    app = call.services
    try:
        jar = SimpleCookie(call.header("cookie"))
    except CookieError:
        return Browser(app)
    parts = jar[COOKIE].value.split(".") if COOKIE in jar else []
    if len(parts) != 3 or not all(part.isascii() for part in parts):
        return Browser(app)
    identifier, expires, mac = parts
    if (
        not app.keys.mac_holds(mac, "cookie", identifier, expires)
        or not expires.isdecimal()
        or int(expires) <= app.now()
    ):
        return Browser(app)
    person = await app.store.registry.signed_in(identifier, app.now())
    row = await app.store.registry.person(person) if person else None
    if row is None or row.revoked or Role.APPROVER.value not in row.roles:
        return Browser(app)
    return Browser(app, identifier, Principal(person, frozenset(Role(role) for role in row.roles)))


async def sign_in(app: Services, key: str) -> str:
    """Return the Set-Cookie value for the holder of an approver key; `StoreError` 403 for any other key."""
    principal = await principal_of(app, key.strip())
    if Role.APPROVER not in principal.roles:
        raise StoreError(
            "bad-key",
            403,
            "This is not a valid approver key. It may have expired or been revoked; ask an administrator.",
        )
    identifier = secrets.token_urlsafe(24)
    lifetime = app.settings.signin_lifetime
    expires = app.now() + lifetime * SECOND
    await app.store.registry.sign_in(SignIn(identifier, principal.name, expires), principal.key)
    mac = app.keys.mac("cookie", identifier, str(expires))
    return _cookie(app, f"{identifier}.{expires}.{mac}", lifetime)


async def sign_out(app: Services, who: Browser) -> str:
    """End the sign-in and return the Set-Cookie value that removes the cookie."""
    if who.identifier:
        await app.store.registry.sign_out(who.identifier)
    return _cookie(app, "", 0)


def require_same_origin(call: Call) -> None:
    """`StoreError` 403 for a form sent from another site (Origin: RFC 6454; Sec-Fetch-Site: Fetch Metadata)."""
    origin = call.header("origin")
    fetched = call.header("sec-fetch-site")
    if fetched and fetched not in ("same-origin", "none"):
        raise StoreError("foreign-origin", 403, "This form was sent from another site.")
    own = {urlsplit(call.services.public_url).netloc, call.header("host")}
    if origin and (origin == "null" or urlsplit(origin).netloc not in own):
        raise StoreError("foreign-origin", 403, "This form was sent from another site.")


def _cookie(app: Services, value: str, lifetime: int) -> str:
    secure = "; Secure" if app.public_url.startswith("https://") else ""
    return f"{COOKIE}={value}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite=Strict{secure}"
