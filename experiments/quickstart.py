"""From nothing to a prediction with error bars over HTTP: what `make quickstart` runs.

Fetches the Darcy cases, trains, writes report and servable, starts the service, asks it about a test case on the finer
grid that training never saw, and stops it again.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments import fetch, train
from experiments.command import run
from experiments.export import export
from pnol_jax.errors import InputError

CONFIG = "experiments/configs/darcy.toml"
UNSEEN = "data/darcy/darcy_test_32.npz"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the whole way; further words are overrides of the config."""
    parser = argparse.ArgumentParser(prog="python -m experiments.quickstart", description=__doc__)
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="overrides of the config")
    asked = parser.parse_args(arguments)
    show = Console(soft_wrap=True, highlight=False)
    folder = Path("runs/quickstart")
    show.rule("1  solved cases")
    if status := fetch.main(["darcy"]):
        return status
    show.rule("2  training, calibration, report")
    if status := train.main([CONFIG, "--run", str(folder), "--overwrite", *asked.overrides]):
        return status  # it was stopped, and has said so
    show.rule("3  servable")
    servable = export(folder, Path("models"))
    show.rule("4  service")
    with serving(servable.parent.parent) as address:
        answer = ask(address, servable.parent.name)
    show.print(_table(answer))
    show.print(f"report     {(folder / 'report.html').absolute().as_uri()}")
    show.print(f"servable   {servable}")
    show.print("serve it   .venv/bin/python -m serving --models models")
    return 0


@contextlib.contextmanager
def serving(models: Path, *flags: str, log: int | IO[str] | None = None) -> Iterator[str]:
    """The service as a process of its own on a free port; its address. `log`: where its log goes, as of `Popen`."""
    command = [sys.executable, "-m", "serving", "--models", str(models), "--port", "0", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if "http://" not in line:
                raise InputError(f"the service did not start: {line.strip() or 'see the message above'}")
            yield "http://" + line.split("http://")[1].split()[0]
        finally:
            process.terminate()


def ask(address: str, model: str) -> dict[str, Any]:
    """One test case at n = 32, by POST /predict; the answer with the truth beside it."""
    cases = np.load(UNSEEN)
    inputs = cases["permeability"][0, 1:, 1:, None].astype(float)
    question = {"model": model, "inputs": inputs.tolist(), "outputs": ["mean", "std", "interval"]}
    request = urllib.request.Request(
        f"{address}/predict", json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, Any] = json.load(response)
    return {"truth": cases["pressure"][0, 1:, 1:], **answer}


def _table(answer: dict[str, Any]) -> Table:
    """The answer along the line x = 1/2."""
    table = Table(title="POST /predict: a test case at n = 32 (trained at n = 16), along x = 0.5")
    for heading in ("y", "truth", "mean", "std", "band"):
        table.add_column(heading, justify="right")
    fields = {name: np.asarray(values)[..., 0] for name, values in answer["outputs"].items()}
    for j in range(3, 31, 4):
        lower, upper = fields["lower"][15, j], fields["upper"][15, j]
        truth, mean, std = answer["truth"][15, j], fields["mean"][15, j], fields["std"][15, j]
        table.add_row(f"{(j + 1) / 32:.3f}", f"{truth:.4f}", f"{mean:.4f}", f"{std:.4f}", f"[{lower:.4f}, {upper:.4f}]")
    interval = answer["interval"]
    table.caption = f"{100 * interval['level']:g}% band: {interval['guarantee']['statement']}"
    return table


if __name__ == "__main__":
    run(lambda: main(sys.argv[1:]))
