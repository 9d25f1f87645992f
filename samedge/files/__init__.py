"""Files in and out: written in one step, read only where regular and bounded; errors as JSON."""
