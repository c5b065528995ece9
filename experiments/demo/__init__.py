"""What the project does, shown by doing it: each feature runs for real, and every number is measured in that run."""
