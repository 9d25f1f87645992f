"""Core ML packages: conversion, compression, and what is checked before a Mac sees them.

library.py     imports coremltools and keeps what it says about the host to itself
conversion.py  a graph -> an ML program, with named tensors and an image input
attributes.py  attributes that no numeric comparison would notice, against torch's graph
compression.py weights in 8, 6 or 4 bits
"""

from __future__ import annotations
