"""The few counters of the control plane, in Prometheus' text form, in a registry of their own."""

from prometheus_client import CollectorRegistry, Counter, generate_latest


class Metrics:
    """Counters of this process since it started."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter("sallyport_requests", "Requests let in, by route", ["route"], registry=self._registry)
        self.reviews = Counter(
            "sallyport_reviews", "Reviews, by what became of them", ["event"], registry=self._registry
        )
        self.alerts = Counter("sallyport_alerts", "Alerts raised, by kind", ["kind"], registry=self._registry)
        self.events = Counter("sallyport_ingested_lines", "Lines of recordings received", registry=self._registry)

    def text(self) -> bytes:
        """The exposition format, version 0.0.4."""
        return generate_latest(self._registry)
