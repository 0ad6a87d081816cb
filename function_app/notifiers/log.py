"""Writes one log line for each step of a review. Never a link: logs are read by others."""

from function_app.logs import event, logger
from function_app.notifiers.base import Message

_log = logger("notifier")


class LogNotifier:
    name = "log"
    personal = False

    async def send(self, message: Message) -> None:
        event(
            _log,
            "review_notice",
            review=message.review,
            step=message.step,
            agent=message.agent,
            resource=message.resource,
            url=message.url,
            people=list(message.people),
        )
