"""Which versions of an orchestration this host runs: the `durableTask` settings of host.json, as the extension reads them.

https://learn.microsoft.com/azure/azure-functions/durable/durable-functions-orchestration-versioning
"""

from dataclasses import dataclass

STRATEGIES = ("None", "Strict", "CurrentOrOlder")
FAILURES = ("Reject", "Fail")


@dataclass(frozen=True, slots=True)
class Versions:
    """`default` is given to instances started without one; "" admits and gives everything and nothing."""

    default: str = ""
    match: str = "CurrentOrOlder"
    failure: str = "Reject"

    def __post_init__(self) -> None:
        if self.match not in STRATEGIES:
            raise ValueError(f"versionMatchStrategy {self.match!r} is not one of {', '.join(STRATEGIES)}")
        if self.failure not in FAILURES:
            raise ValueError(f"versionFailureStrategy {self.failure!r} is not one of {', '.join(FAILURES)}")

    def admits(self, version: str | None) -> bool:
        """Whether an instance of `version` runs here; one without a version is older than any."""
        if self.match == "None" or not self.default or version == self.default:
            return True
        return self.match == "CurrentOrOlder" and _order(version or "") <= _order(self.default)


def _order(version: str) -> list[tuple[int, int, str]]:
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in version.split(".") if part]
