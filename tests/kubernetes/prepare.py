"""`python -m tests.kubernetes.prepare FOLDER`: what the tests need and cannot fetch, as they have no network."""

import shutil
import sys
import tempfile
from pathlib import Path

from tests.containers import podman
from tests.kubernetes import programs

IMAGES = ("cpu", "train")
PAUSE = "localhost/pause:1"  # holds the namespaces of a pod


def main() -> int:
    """Programs, where they are not there yet; images of this checkout as archives."""
    folder = Path(sys.argv[1]).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    if reason := podman.missing():
        print(reason, file=sys.stderr)
        return 1
    programs.build(folder, podman.archive(), podman.codename())
    shutil.rmtree(folder / "images", ignore_errors=True)
    (folder / "images").mkdir()
    with podman.podman(Path(tempfile.mkdtemp(prefix="pnol-kubernetes-"))) as engine:
        _pause(engine)
        _save(engine, PAUSE, folder / "images/pause.tar")
        for target in IMAGES:
            _save(engine, engine.build(target), folder / f"images/{target}.tar")
            print(f"image {target}: built in {engine.seconds[target]:.0f} s", flush=True)
    return 0


def _pause(engine: podman.Podman) -> None:
    context = engine.folder / "pause"
    context.mkdir()
    shutil.copy(shutil.which("catatonit") or "", context / "pause")
    (context / "Containerfile").write_text('FROM scratch\nADD pause /pause\nENTRYPOINT ["/pause", "-P"]\n')
    engine("build", "--isolation", "chroot", "--format", "docker", "--tag", PAUSE, str(context))


def _save(engine: podman.Podman, image: str, file: Path) -> None:
    engine("save", "--format", "docker-archive", "--output", str(file), image)


if __name__ == "__main__":
    sys.exit(main())
