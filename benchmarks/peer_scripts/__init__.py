"""What runs in a peer's own environment. It imports nothing of the project, which imports two modules of it."""
