"""Training steps and forward passes against neuraloperator 2.0, and against the same operator through `jnp.fft`.

Equal parameters, blocks, batch, loss and optimiser; all sides take turns in one run. The peer is timed as it starts by
itself and with our allocator's settings (on a GPU with products in TensorFloat-32, as ours are), and compared by the
faster of the two.
"""

import contextlib

import jax

from benchmarks.measure import LocalSide, Timings, alternate
from benchmarks.operator_sides import sides
from benchmarks.peer_scripts.sizes import SIZES
from benchmarks.peers import neuraloperator_speed
from benchmarks.report import Figure, argument_parser, report
from experiments.command import run
from pnol_jax.memory import keep_arena

OURS, FFT, PEER = "pnol_jax", "through jnp.fft", "neuraloperator"
PEER_SET = {"cpu": "neuraloperator, memory kept", "gpu": "neuraloperator, TF32"}
OPERATIONS = {"step": ("train", 2.5), "forward": ("forward", 2.2)}
REQUIRED = {"train_speedup_2d_64": 1.8}


def main() -> int:
    """Measure the sizes that were asked for."""
    parser = argument_parser(__doc__, rounds=11, burst=1.0)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    options = parser.parse_args()
    keep_arena()
    timings: dict[str, Timings] = {}
    figures: list[Figure] = []
    versions: dict[str, str] = {}
    for name in options.sizes:
        with contextlib.ExitStack() as stack:
            gpu = jax.default_backend() == "gpu"
            peers = {
                PEER: neuraloperator_speed(name),
                PEER_SET["gpu" if gpu else "cpu"]: neuraloperator_speed(name, keep_memory=not gpu, tf32=gpu),
            }
            for peer in peers.values():
                stack.enter_context(peer)
            ours, through_fft = sides(SIZES[name]), sides(SIZES[name], through_fft=True)
            facts = peers[PEER].facts
            versions |= facts["versions"]
            if facts["parameters"] != ours.parameters:
                raise RuntimeError(f"{name}: the peer has {facts['parameters']} parameters, ours {ours.parameters}")
            for operation, (label, goal) in OPERATIONS.items():
                local = [
                    LocalSide(OURS, getattr(ours, operation)),
                    LocalSide(FFT, getattr(through_fft, operation)),
                ]
                remote = [peer.side(side, operation) for side, peer in peers.items()]
                measured = alternate([*local, *remote], options.rounds, options.burst)
                timings[f"{label}, {name}, {ours.parameters:,} parameters"] = measured
                figures += _figures(name, label, goal, measured)
    return report(figures, options.json, timings, versions)


def _figures(name: str, label: str, goal: float, measured: Timings) -> list[Figure]:
    peer = min((side for side in measured.seconds if side.startswith(PEER)), key=measured.median)
    against = {f"{label}_speedup_{name}": (peer, goal), f"{label}_speedup_over_fft_{name}": (FFT, 1.0)}
    figures = []
    for figure, (slower, hoped) in against.items():
        ratio = measured.ratio(slower, OURS)
        figures.append(
            Figure(figure, ratio.value, "x", hoped, at_least=REQUIRED.get(figure), interval=(ratio.low, ratio.high))
        )
    return figures


if __name__ == "__main__":
    run(main)
