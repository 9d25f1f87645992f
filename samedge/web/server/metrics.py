"""Figures for Prometheus: what was asked, how long it took, what waits and what is kept."""

from __future__ import annotations

import sys
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from samedge.web.server.cache import Cache, KeptImage
from samedge.web.server.worker import Worker

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The figures of one server.

    Attributes:
        encodes, decodes: images and prompts that went through the model.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "samedge_requests",
            "Requests by what was asked and HTTP status; 499 is a client that left.",
            ("operation", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "samedge_request_seconds",
            "From a request's head to its answer, of a stream to its first line.",
            ("operation",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.encodes = Counter(
            "samedge_encodes", "Images that the model encoded.", registry=self._registry
        )
        self.decodes = Counter(
            "samedge_decodes", "Prompts that the model decoded.", registry=self._registry
        )
        self._gauge("samedge_peak_rss_bytes", "Most memory that the process had.", _peak_bytes)

    def watch(self, worker: Worker, cache: Cache[KeptImage]) -> None:
        """Show a queue and a cache, too."""
        self._gauge("samedge_queue_waiting", "Jobs that wait.", lambda: worker.waiting)
        self._gauge("samedge_model_busy", "Whether the model works.", lambda: worker.is_busy)
        self._gauge("samedge_kept_images", "Images that are kept.", lambda: len(cache))
        self._gauge("samedge_kept_bytes", "Bytes of what is kept.", lambda: cache.size_bytes)
        self._gauge("samedge_cache_hits", "Images that were kept.", lambda: cache.hits)
        self._gauge("samedge_cache_misses", "Images that were not.", lambda: cache.misses)
        self._gauge("samedge_cache_evictions", "Images dropped.", lambda: cache.evictions)

    def requested(self, operation: str, *, status: int, seconds: float) -> None:
        """Count a request that is over."""
        self._requests.labels(operation, str(status)).inc()
        self._seconds.labels(operation).observe(seconds)

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, words: str, value: Callable[[], float]) -> None:
        Gauge(name, words, registry=self._registry).set_function(value)


def _peak_bytes() -> float:
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)
