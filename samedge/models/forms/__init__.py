"""Decoders as they are deployed: the same numbers, written for speed.

Each module takes a trained decoder and computes what it computes. Plug-ins of
``samedge.models._decoders`` say which form a platform gets.
"""
