"""What an operator can count. Workers count in plain integers; Prometheus text is made when somebody asks, with a label
per worker.

No name of an agent, no statement and no secret is a label: only resources, rules and outcomes, whose number is
bounded.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from edge_agent import repeat
from gateway_kernel.audit import Outcome

_RULES = 1000  # rules of refusals that are counted apart; a policy has at most 500


class Counts:
    """What one worker counted since it started."""

    def __init__(self) -> None:
        self.forwarded = 0
        self.reviews = 0
        self.masked = 0
        self.identified = 0
        self.unidentified = 0
        self.outcomes: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()

    def by_outcome(self) -> Counter[str]:
        """How many operations ended in which way."""
        return self.outcomes + Counter({Outcome.COMPLETED: repeat.completed()})

    def refused(self, rules: tuple[str, ...]) -> None:
        """Count a refusal under the first rule that made it."""
        rule = rules[0] if rules else "default"
        if rule in self.refusals or len(self.refusals) < _RULES:
            self.refusals[rule] += 1


class Sample(msgspec.Struct, frozen=True):
    """One value of one metric of one worker."""

    name: str
    value: float
    labels: dict[str, str] = {}


_COUNTERS = {
    "sallyport_operations_forwarded": "Operations sent upstream.",
    "sallyport_operations_refused": "Operations refused, by the rule that refused them.",
    "sallyport_outcomes": "Outcomes of operations sent upstream.",
    "sallyport_reviews_asked": "Operations for which people were asked.",
    "sallyport_values_masked": "Values hidden in responses.",
    "sallyport_agents_identified": "Agents that proved who they are.",
    "sallyport_agents_refused": "Attempts that did not.",
    "sallyport_events_recorded": "Audit events written to the spool.",
    "sallyport_worker_restarts": "Workers started again after they died.",
}
_GAUGES = {
    "sallyport_connections": "Open sessions, by resource.",
    "sallyport_operations_waiting": "Operations that wait for people.",
    "sallyport_spool_bytes": "Bytes of the spool on disk.",
    "sallyport_spool_unshipped_bytes": "Bytes that the control plane has not acknowledged.",
    "sallyport_spool_writable": "1 if operations can be recorded.",
    "sallyport_bundle_age_seconds": "Seconds since the control plane confirmed policy and keys.",
    "sallyport_control_plane_reachable": "1 if the last call to the control plane was answered.",
    "sallyport_clock_skew_seconds": "Seconds by which the control plane's clock is ahead.",
    "sallyport_policy_version": "The policy version in force.",
    "sallyport_worker_up": "1 if the worker serves.",
}

NAMES = (*_COUNTERS, *_GAUGES)
"""Every metric there is; docs/edge.md describes each."""


class _Collector:
    def __init__(self, samples: Iterable[tuple[str, Sample]]) -> None:
        self._samples = list(samples)

    def collect(self) -> Iterator[Metric]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for worker, sample in self._samples:
            labels = ["worker", *sample.labels]
            family = families.get(sample.name)
            if family is None:
                kind, text = (
                    (CounterMetricFamily, _COUNTERS[sample.name])
                    if sample.name in _COUNTERS
                    else (GaugeMetricFamily, _GAUGES[sample.name])
                )
                family = families[sample.name] = kind(sample.name, text, labels=labels)
            family.add_metric([worker, *sample.labels.values()], sample.value)
        yield from families.values()


def render(samples: Iterable[tuple[str, Sample]]) -> bytes:
    """The Prometheus text of (worker, sample) pairs."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(samples))
    return generate_latest(registry)
