"""`python -m serving --models DIR`."""

import sys

from pnol_jax.errors import InputError
from pnol_jax.memory import keep_arena
from serving.settings import read_settings


def main() -> int:
    """Serve the models in a folder; 2 if something handed over is wrong."""
    try:
        settings = read_settings(sys.argv[1:])
        keep_arena()  # before anything that allocates in a second thread is imported
        from serving.process import serve

        serve(settings)
    except InputError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
