"""What a device could do, and what works here."""
