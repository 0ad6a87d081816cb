"""Single-use links for one person and one review.

The token says whom it is for and until when, and carries a MAC over that and the review; the store holds its SHA-256 and whether
it was used. Making the same link again (an activity that runs twice) gives the same token. Opening a link decides nothing: mail
scanners open links.
"""

import base64
import hashlib

import msgspec

from function_app.composition import Services
from function_app.stores.base import Due, Review
from gateway_kernel.model import SECOND, Instant

LONGEST_TOKEN = 1024


class Link(msgspec.Struct, frozen=True, array_like=True):
    """What a token says."""

    person: str
    expires: Instant
    step: str


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def make(app: Services, review: Review, person: str, step: str, due: Due) -> str:
    """Return the URL of this person's link for this step."""
    expires = min(due.expire, due.opened + app.settings.link_lifetime * SECOND)
    said = base64.urlsafe_b64encode(msgspec.json.encode(Link(person, expires, step))).decode().rstrip("=")
    token = f"{said}.{app.keys.mac('link', review.id, said)}"
    await app.store.reviews.add_link(token_hash(token), review.id, person, expires)
    return f"{app.review_url(review.id)}/links/{token}"


async def person_of(app: Services, review: str, token: str) -> str:
    """The person whom a valid, unused link names; "" if it is forged, of another review, used or expired."""
    said, _, mac = token.partition(".")
    if len(token) > LONGEST_TOKEN or not token.isascii() or not app.keys.mac_holds(mac, "link", review, said):
        return ""
    link = msgspec.json.decode(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)), type=Link)
    return link.person if await app.store.reviews.link_open(token_hash(token), review, link.person, app.now()) else ""
