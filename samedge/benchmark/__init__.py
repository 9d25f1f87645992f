"""Latency of every stage, in fresh processes, by rules."""
