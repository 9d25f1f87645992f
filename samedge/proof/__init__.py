"""Exported files against the reference, everywhere the same."""
