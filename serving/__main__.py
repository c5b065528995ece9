"""`python -m serving --models DIR`."""

import sys
from pathlib import Path

from pnol_jax.errors import InputError
from pnol_jax.memory import keep_arena
from serving.listener import listen
from serving.settings import read_settings
from serving.tokens import read_tokens
from serving.workers import Role, supervise


def main() -> int:
    """Serve the models in a folder; 2 if something handed over is wrong."""
    try:
        if any(word.startswith("--enable-") for word in sys.argv[1:]):
            from serving.fleet.short import run

            run(sys.argv[1:])
            return 0
        settings, role = read_settings(sys.argv[1:]), Role.mine()
        if settings.tokens:
            read_tokens(Path(settings.tokens))  # what is wrong with it is said before anything takes long
        if role is None and settings.workers > 1:
            return supervise(settings, listen(settings.host, settings.port), sys.argv[1:])
        listener, member = role.assume() if role else (listen(settings.host, settings.port), None)
        keep_arena()  # before anything that allocates in a second thread is imported
        from serving.process import serve

        serve(settings, listener, member)
    except InputError as error:
        print(f"serving: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
