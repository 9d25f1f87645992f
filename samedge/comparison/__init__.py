"""Which bundle to ship: everything that runs here exported, measured side by side, and judged."""
