"""Which notifiers there are: one line each."""

from function_app.notifiers.base import Notifier
from function_app.notifiers.log import LogNotifier
from function_app.notifiers.outbox import OutboxNotifier
from function_app.notifiers.webhook import WebhookNotifier
from function_app.settings import Settings


def notifiers(settings: Settings) -> tuple[Notifier, ...]:
    """The notifiers that the settings name, in their order."""
    there: dict[str, Notifier] = {
        "log": LogNotifier(),
        "outbox": OutboxNotifier(settings.data_dir / "outbox"),
        "webhook": WebhookNotifier(settings.webhook_url, settings.webhook_secret),
    }
    return tuple(there[name] for name in settings.notifiers)
