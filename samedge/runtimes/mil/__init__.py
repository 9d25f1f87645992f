"""Core ML packages read without a Mac: the file format, the program and its operations.

    proto.py        the protobuf classes that coremltools ships, loaded without coremltools itself
    blob.py         ``weight.bin``: records of 64 bytes in front of each tensor
    program.py      functions, operations, types and constants as plain dataclasses
    package.py      ``.mlpackage`` folder -> ``Package``; ``Function`` features -> tensor specs
    interpreter.py  executes a function with torch on the CPU
    ops/            what each operation means, one module a family

Nothing here imports torch until an interpreter is made, so that the reader serves the lint too.
"""

from __future__ import annotations
