"""The host's keys: made at the first start, kept in the data directory, readable by its owner alone.

Three, as Azure's host has them: `master` opens everything below /admin and every function, `function` opens functions
of level FUNCTION, `durabletask` is the Durable extension's system key: it reads, starts and ends every orchestration
and opens nothing else. None of them belongs to an approver or an edge.
"""

import hmac
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

NAME = "keys.json"
LENGTH = 32  # random bytes of a new key; the fewest characters of one that is accepted


@dataclass(frozen=True, slots=True)
class Keys:
    """The three keys; a repr shows none of them."""

    master: str = field(repr=False)
    function: str = field(repr=False)
    durabletask: str = field(repr=False)

    def open_function(self, level: str, key: str) -> bool:
        """Whether `key` opens a function of authLevel `level`; an unknown level opens to the master key only."""
        match level.lower():
            case "anonymous":
                return True
            case "function":
                return _same(key, self.function) or _same(key, self.master)
            case _:
                return _same(key, self.master)

    def open_admin(self, key: str) -> bool:
        """Whether `key` opens /admin."""
        return _same(key, self.master)

    def open_durable(self, key: str) -> bool:
        """Whether `key` opens the durable webhook API."""
        return _same(key, self.durabletask) or _same(key, self.master)


def read_keys(data_dir: Path) -> Keys:
    """The keys of this data directory, made where they are missing. Raises ValueError for a file that is damaged."""
    path = data_dir / NAME
    if not path.exists():
        return _make(path)
    try:
        keys = Keys(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError):
        raise ValueError(f"{path} does not hold the three keys; delete it to have new ones made") from None
    if not all(isinstance(key, str) and len(key) >= LENGTH for key in asdict(keys).values()):
        raise ValueError(f"{path} holds a key that is too short; delete it to have new ones made")
    return keys


def _make(path: Path) -> Keys:
    keys = Keys(*(secrets.token_urlsafe(LENGTH) for _ in range(3)))
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(asdict(keys), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    return keys


def _same(given: str, key: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), key.encode())
