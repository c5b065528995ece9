"""What the service does, as figures: counted by each worker, told of all of them together."""
