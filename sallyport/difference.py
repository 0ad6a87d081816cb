"""What changed between two policies, rule by rule. Texts are compared as what they say: comments and layout do not count.

It does not say what the change would do to operations.
"""

from typing import Any, cast

import msgspec

from gateway_kernel.policy.source import parse, plain


class RuleChange(msgspec.Struct, frozen=True):
    """One rule that both have, told differently: key -> (old, new), None where the key is not there."""

    rule: str
    keys: dict[str, tuple[Any, Any]]


class Difference(msgspec.Struct, frozen=True):
    """What `new` has otherwise than `old`. `moved` are rules whose order among the kept ones changed; `head` is all beside rules and tests."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[RuleChange, ...]
    moved: tuple[str, ...]
    head: dict[str, tuple[Any, Any]]
    tests_added: tuple[str, ...]
    tests_removed: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """True if both say the same, tests of the same name apart."""
        return not any(msgspec.structs.astuple(self))


def difference(old: str | bytes, new: str | bytes, names: tuple[str, str] = ("old", "new")) -> Difference:
    """Compare two policy texts that load; raise `PolicyError` if one is no YAML document."""
    before, after = (_document(text, name) for text, name in zip((old, new), names, strict=True))
    rules, other = _named(before, "rules", "id"), _named(after, "rules", "id")
    tests, other_tests = _named(before, "tests", "name"), _named(after, "tests", "name")
    changes = ((rule, _keys(rules[rule], other[rule])) for rule in other if rule in rules)
    return Difference(
        added=tuple(rule for rule in other if rule not in rules),
        removed=tuple(rule for rule in rules if rule not in other),
        changed=tuple(RuleChange(rule, keys) for rule, keys in changes if keys),
        moved=_moved([rule for rule in rules if rule in other], [rule for rule in other if rule in rules]),
        head=_keys(_head(before), _head(after)),
        tests_added=tuple(test for test in other_tests if test not in tests),
        tests_removed=tuple(test for test in tests if test not in other_tests),
    )


def _document(text: str | bytes, name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", plain(parse(text, name)[0]))


def _named(document: dict[str, Any], list_: str, key: str) -> dict[str, dict[str, Any]]:
    return {entry[key]: entry for entry in document.get(list_) or ()}


def _head(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key not in ("rules", "tests")}


def _keys(old: dict[str, Any], new: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}


def _moved(old: list[str], new: list[str]) -> tuple[str, ...]:
    return tuple(rule for rule, other in zip(new, old, strict=True) if rule != other)
