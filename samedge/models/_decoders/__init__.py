"""Mask decoders: a file ``_name.py`` each with ``DECODER``; see ``samedge.models.decoders``."""
