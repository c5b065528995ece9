"""Two processes on this machine train on a mesh of two; what they send is counted by the system and compared.

As a script it is one of the two: it prints the bytes it wrote in so many steps. Gloo writes to its sockets by `write`,
which the kernel counts for each process.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.child import ROOT
from pnol_jax.ports import free_port

STEPS, WARM = 20, 3
COUNTER = Path("/proc/self/io")


def measured_and_predicted() -> tuple[float, float]:
    """Bytes that a process sent in a step, by the system's count and by the compiled program's collectives."""
    coordinator = f"127.0.0.1:{free_port()}"
    processes = [_start(index, coordinator) for index in range(2)]
    answers = [json.loads(process.communicate(timeout=600)[0].splitlines()[-1]) for process in processes]
    return sum(answer["written"] for answer in answers) / 2, answers[0]["predicted"]


def _start(index: int, coordinator: str) -> "subprocess.Popen[str]":
    place = {"PNOL_PROCESS": str(index), "PNOL_PROCESSES": "2", "PNOL_COORDINATOR": coordinator}
    command = [sys.executable, "-m", "benchmarks.loopback"]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | place, stdout=subprocess.PIPE, text=True)


def main() -> int:
    """Be one of the two processes."""
    from benchmarks.divided_sides import arguments, posterior
    from benchmarks.peer_scripts.sizes import SIZES
    from pnol_jax.config import MeshConfig
    from pnol_jax.optimizer_config import AdamWConfig
    from pnol_jax.sharding.mesh import make_mesh, use
    from pnol_jax.sharding.processes import together
    from pnol_jax.sharding.traffic import collectives_of
    from pnol_jax.training.optimizers import make_optimizer
    from pnol_jax.training.step import initial_state, make_step

    with together():
        size = SIZES["1d_1024"]
        source = posterior(size)
        optimizer = make_optimizer(AdamWConfig(), 100, None)
        mesh = make_mesh(MeshConfig(data=2))
        with use(mesh):
            given, state = arguments(size), initial_state(source, optimizer, 0, averaged=False)
            program = make_step(source, optimizer, 0.0)
            compiled = program.lower(state, given.constants, given.batch, given.grid).compile()
            predicted = sum(collective.sent for collective in collectives_of(compiled.as_text(), mesh))
            for step in range(WARM + STEPS):
                if step == WARM:
                    before = _written()
                state, metrics = compiled(state, given.constants, given.batch, given.grid)
                metrics["loss"].block_until_ready()
            written = (_written() - before) / STEPS
        print(json.dumps({"written": written, "predicted": predicted}), flush=True)
    return 0


def _written() -> int:
    lines = dict(line.split(": ") for line in COUNTER.read_text().splitlines())
    return int(lines["wchar"])


if __name__ == "__main__":
    sys.exit(main())
