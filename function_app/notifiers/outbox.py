"""Puts each message as a JSON file into `outbox/` of the data directory, one for each person, readable by this account only.

What a mail drop is to mail: on one machine another program may deliver them; in tests it shows what a person would get. A message sent
again overwrites its file.
"""

import asyncio
import hashlib
import os
from pathlib import Path

import msgspec

from function_app.notifiers.base import Message, NotifierError


class OutboxNotifier:
    name = "outbox"
    personal = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def send(self, message: Message) -> None:
        try:
            await asyncio.to_thread(self._write, message)
        except OSError as error:
            raise NotifierError(f"{self._directory}: {error.strerror}") from error

    def _write(self, message: Message) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for person in message.people:
            links = {person: message.links[person]} if person in message.links else {}
            personal = msgspec.structs.replace(message, people=(person,), links=links)
            name = f"{message.key}-{hashlib.sha256(person.encode()).hexdigest()[:12]}"
            draft = self._directory / f".{name}.draft"
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(personal))
            draft.replace(self._directory / f"{name}.json")
