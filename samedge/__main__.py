"""``python -m samedge`` is the command line."""

from __future__ import annotations

from samedge.cli import main

if __name__ == "__main__":
    main()
