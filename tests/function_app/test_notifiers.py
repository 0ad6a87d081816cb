"""Telling people: what is sent, signed, and sent again."""

import hmac
import logging
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from function_app.notifiers.base import Message, NotifierError
from function_app.notifiers.log import LogNotifier
from function_app.notifiers.outbox import OutboxNotifier
from function_app.notifiers.webhook import WebhookNotifier

LINK = "https://sallyport.example/reviews/r1/links/token"
MESSAGE = Message(
    "r1-opened",
    "r1",
    "opened",
    "bot",
    "orders",
    "postgres",
    "DELETE",
    "why",
    "https://sallyport.example/reviews/r1",
    ("ann@example.com", "bob@example.com"),
    {"ann@example.com": LINK},
)


async def test_the_webhook_is_signed_and_its_failure_is_an_error_to_try_again():
    """The receiver can tell that it came from us; anything but success is not delivered."""
    seen: list[tuple[bytes, str]] = []

    async def receive(request: web.Request) -> web.Response:
        seen.append((await request.read(), request.headers["X-Sallyport-Signature"]))
        return web.Response(status=204 if len(seen) == 1 else 302, headers={"Location": "/elsewhere"})

    application = web.Application()
    application.router.add_post("/hook", receive)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    notifier = WebhookNotifier(f"http://127.0.0.1:{runner.addresses[0][1]}/hook", "shared")
    await notifier.send(MESSAGE)
    with pytest.raises(NotifierError, match="302"):
        await notifier.send(MESSAGE)
    await runner.cleanup()
    with pytest.raises(NotifierError, match="cannot be reached"):
        await notifier.send(MESSAGE)
    body, signature = seen[0]
    assert signature == f"sha256={hmac.digest(b'shared', body, 'sha256').hex()}"
    assert msgspec.json.decode(body, type=Message).key == "r1-opened"


async def test_the_outbox_holds_one_private_file_for_each_person(tmp_path: Path):
    """Nobody finds another one's link, and a message sent again is the same file."""
    notifier = OutboxNotifier(tmp_path / "outbox")
    await notifier.send(MESSAGE)
    await notifier.send(MESSAGE)
    paths = sorted((tmp_path / "outbox").iterdir())
    messages = [msgspec.json.decode(path.read_bytes(), type=Message) for path in paths]
    assert sorted(message.people for message in messages) == [("ann@example.com",), ("bob@example.com",)]
    assert [message.links for message in messages if message.people == ("bob@example.com",)] == [{}]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    (tmp_path / "file").write_text("")
    with pytest.raises(NotifierError):
        await OutboxNotifier(tmp_path / "file").send(MESSAGE)


async def test_the_log_never_holds_a_link(caplog: pytest.LogCaptureFixture):
    """Logs are read by others."""
    with caplog.at_level(logging.INFO):
        await LogNotifier().send(MESSAGE)
    assert "review_notice" in caplog.text
    assert LINK not in caplog.text
