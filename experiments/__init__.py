"""What a person runs: each module is a command, `python -m experiments.NAME`."""
