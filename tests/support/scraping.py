"""Metrics as a scraper sees them."""

from collections.abc import Iterator

import httpx
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from app.telemetry.metrics import Metrics


class Scrape:
    """The text of one scrape, to be asked for values."""

    def __init__(self, text: str) -> None:
        self.families: list[Metric] = list(text_string_to_metric_families(text))

    @classmethod
    def of(cls, registry: CollectorRegistry) -> "Scrape":
        """What a scrape of this registry brings."""
        return cls(generate_latest(registry).decode())

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels; 0 where there are none."""
        name = f"message_state_{name}"
        found = [each for each in self.samples() if each[0] == name and labels.items() <= each[1].items()]
        return sum(value for _, _, value in found)

    def samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        """Name, labels and value of each."""
        for family in self.families:
            for sample in family.samples:
                yield sample.name, dict(sample.labels), sample.value

    def series(self) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        """Every series: name and labels."""
        return {(name, tuple(sorted(labels.items()))) for name, labels, _ in self.samples()}


def scrape(client: httpx.AsyncClient) -> Scrape:
    """A scrape of the service in process that this client calls."""
    return Scrape.of(metrics_of(client).registry)


def metrics_of(client: httpx.AsyncClient) -> Metrics:
    """The metrics of the service in process that this client calls."""
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    metrics = transport.app.state.service.metrics  # type: ignore[attr-defined]  # it is our FastAPI
    assert isinstance(metrics, Metrics)
    return metrics
