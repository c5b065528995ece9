"""What runs in a peer's own environment. Nothing here imports the project; only these two modules the project imports."""
