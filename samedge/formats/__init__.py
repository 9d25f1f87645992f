"""Masks and annotations in and out of files."""
