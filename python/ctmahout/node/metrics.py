"""What the node counts, and its metrics in the format of Prometheus."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["Counters", "exposition"]

_HELP = {
    "images": "Images received, by the status of the answer.",
    "rejected associations": "Associations rejected, by reason.",
    "closed connections": "Connections closed before an association, by reason.",
    "fetches": "Series asked of archives, by outcome.",
    "runs": "Tries to denoise a series, by outcome.",
    "deliveries": "Tries to send a series, by outcome.",
    "sent images": "Images that destinations accepted.",
    "seconds": "Seconds spent on denoising.",
}


class Counters:
    """Counters by name and label, since the start of the process; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()

    def count(self, name: str, label: str = "", amount: float = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[name, label] += amount  # type: ignore[assignment]

    def items(self) -> dict[tuple[str, str], float]:
        with self._lock:
            return dict(self._counts)


def exposition(counters: Counters, series: Callable[[], Mapping[str, int]]) -> bytes:
    """Return all metrics as text (Prometheus exposition format 0.0.4).

    Parameters
    ----------
    counters : Counters
    series : callable
        Returns the number of series by state.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    class Collector:
        def collect(self) -> Iterator[Any]:
            gauge = GaugeMetricFamily("ctmahout_series", "Series in the queue, by state.", labels=["state"])
            for state, number in series().items():
                gauge.add_metric([state], number)
            yield gauge
            items = counters.items()
            for name, text in _HELP.items():
                family = CounterMetricFamily(f"ctmahout_{name.replace(' ', '_')}", text, labels=["label"])
                for (counted, label), amount in items.items():
                    if counted == name:
                        family.add_metric([label], amount)
                yield family

    registry = CollectorRegistry()
    registry.register(Collector())
    text: bytes = generate_latest(registry)
    return text
