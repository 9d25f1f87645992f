"""Live video: sources, a mailbox of one, the watch over them, and what runs on their frames."""
