"""Segment Anything in torch: encoders, prompt encoder, mask decoder, checkpoints.

Importing this package loads no torch; its modules do. ``samedge.models.zoo`` is importable on a
device install, so that ``samedge models`` can list what could be exported.
"""
