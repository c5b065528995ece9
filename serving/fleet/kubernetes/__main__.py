"""`python -m serving.fleet.kubernetes --config fleet.toml`."""

import sys

from serving.fleet.kubernetes.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
