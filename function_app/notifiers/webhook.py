"""Posts each message as JSON to one URL, signed. It reaches a system, not a person, so it carries no link.

`X-Sallyport-Signature: sha256=<hex HMAC-SHA256 of the body under SALLYPORT_WEBHOOK_SECRET>`. Redirects are not followed.
"""

import hmac

import aiohttp
import msgspec

from function_app.notifiers.base import Message, NotifierError

LONGEST = 10.0
"""Seconds for one attempt; the sweep tries again."""


class WebhookNotifier:
    name = "webhook"
    personal = False

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret.encode()

    async def send(self, message: Message) -> None:
        body = msgspec.json.encode(message)
        signature = hmac.digest(self._secret, body, "sha256").hex()
        headers = {"Content-Type": "application/json", "X-Sallyport-Signature": f"sha256={signature}"}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LONGEST)) as session,
                session.post(self._url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                if response.status >= 300:
                    raise NotifierError(f"the webhook answered {response.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NotifierError(f"the webhook cannot be reached: {type(error).__name__}") from error
