"""Quantization that keeps the masks: images, ranges, sensitivity, a precision plan, and a gate.

A calibration set (:mod:`~samedge.proof.photos`) feeds the graphs with what they will see.
A precision plan (:mod:`~samedge.calibration.plan`) says which modules compute in what. Quantizers,
one a file, turn a float graph into the plan's graph. The gate
(:mod:`~samedge.proof.accuracy`) holds the result against its own float bundle.
"""
