"""The host's keys."""

import json
import stat
from pathlib import Path

import pytest

from embedded_host.keys import read_keys


def test_keys_are_made_once_and_for_their_owner_alone(tmp_path: Path) -> None:
    """0600, three different ones, the same at the next start, and none in a repr."""
    keys = read_keys(tmp_path)
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    assert len({keys.master, keys.function, keys.durabletask}) == 3
    assert read_keys(tmp_path) == keys
    assert not any(key in repr(keys) for key in (keys.master, keys.function, keys.durabletask))


def test_each_key_opens_its_own_doors(tmp_path: Path) -> None:
    """The system key opens no function, the function key no orchestration, no key nothing but anonymous."""
    keys = read_keys(tmp_path)
    doors = {
        name: [
            level
            for level, opens in (
                ("anonymous", keys.open_function("ANONYMOUS", key)),
                ("function", keys.open_function("function", key)),
                ("level admin", keys.open_function("admin", key)),
                ("level nobody knows", keys.open_function("typo", key)),
                ("admin", keys.open_admin(key)),
                ("durable", keys.open_durable(key)),
            )
            if opens
        ]
        for name, key in (("", ""), ("f", keys.function), ("d", keys.durabletask), ("m", keys.master))
    }
    assert doors[""] == ["anonymous"]
    assert doors["f"] == ["anonymous", "function"]
    assert doors["d"] == ["anonymous", "durable"]
    assert doors["m"] == ["anonymous", "function", "level admin", "level nobody knows", "admin", "durable"]


@pytest.mark.parametrize("content", ["{", "[]", "{}", json.dumps({"master": "", "function": "", "durabletask": ""})])
def test_a_damaged_file_is_not_taken_for_no_keys(tmp_path: Path, content: str) -> None:
    """New keys would lock out whoever holds the old ones; an empty one would open to everybody."""
    (tmp_path / "keys.json").write_text(content)
    with pytest.raises(ValueError, match=r"keys\.json"):
        read_keys(tmp_path)
