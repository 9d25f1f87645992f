"""Any backend in a process of its own, which may crash or hang without taking this one along."""
