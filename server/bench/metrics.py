"""Reading a server's own metrics before and after a load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

MODEL_FIRST_CHUNK = "cosystream_model_first_chunk_seconds"
MODEL_HOLDS = "cosystream_model_holds"
MODEL_INCIDENTS = "cosystream_model_incidents_total"
WORKER_STOPS = "cosystream_worker_stops_total"
SERVER_ADDED = "cosystream_server_added_latency_seconds"


@dataclass(frozen=True, slots=True)
class Scrape:
    """The samples of one moment, summed over their labels, buckets left out."""

    samples: Mapping[str, float]
    named: Mapping[tuple[str, str], float]
    """The same, by the label `name` besides."""

    @classmethod
    def parse(cls, text: str) -> Scrape:
        """Read the text exposition format."""
        samples: dict[str, float] = {}
        named: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    continue
                samples[sample.name] = samples.get(sample.name, 0.0) + sample.value
                if name := sample.labels.get("name"):
                    key = sample.name, name
                    named[key] = named.get(key, 0.0) + sample.value
        return cls(samples, named)

    def by_name(self, metric: str) -> dict[str, float]:
        """The samples of a metric that has a label `name`."""
        return {name: value for (found, name), value in self.named.items() if found == metric}

    @classmethod
    async def fetch(cls, http_url: str) -> Scrape | None:
        """Ask a server; None if it has no metrics for us."""
        try:
            async with httpx.AsyncClient(trust_env=False) as http:
                answer = await http.get(f"{http_url}/metrics")
        except httpx.HTTPError:
            return None
        return cls.parse(answer.text) if answer.status_code == httpx.codes.OK else None


def grown_between(before: Scrape | None, after: Scrape | None, counter: str) -> int | None:
    """What was counted between two scrapes, None if there is no knowing."""
    if before is None or after is None:
        return None
    return round(after.samples.get(counter, 0) - before.samples.get(counter, 0))


def mean_between(before: Scrape | None, after: Scrape | None, histogram: str) -> float | None:
    """The mean of what `histogram` observed between two scrapes, None if nothing."""
    if before is None or after is None:
        return None
    count = after.samples.get(f"{histogram}_count", 0) - before.samples.get(f"{histogram}_count", 0)
    total = after.samples.get(f"{histogram}_sum", 0) - before.samples.get(f"{histogram}_sum", 0)
    return total / count if count > 0 else None
