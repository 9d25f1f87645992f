"""The least that can be measured."""

from __future__ import annotations

from samedge.benchmark.bench import Effort

TINY = Effort(0.05, 60, 2)
