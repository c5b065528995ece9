"""neuraloperator 2.0's FNO, timed: the training step and the forward pass of one size, by the line protocol.

    python neuraloperator_speed.py SIZE [--optimizer NAME] [--tf32]

On a GPU where PyTorch finds one; `--tf32` lets it multiply in TensorFloat-32, as JAX does by itself.

What its FNO computes, read from its source and checked in float64 (0.9e-7 to 2.1e-7 relative; only where an axis other
than the last has an odd number of points does it deviate, because it undoes an fftshift with an fftshift). C is the
width, d the number of axes, L = 4 layers, gelu(x) = x (1 + erf(x / sqrt 2)) / 2, maps act at each point:

    v  = [a, x_1, ..., x_d]           coordinates x_a = i / n_a
    v  = W gelu(W v + b) + b          lifting: 1 + d -> 2C -> C
    each block:
      u  = K v + b + S v              K spectral; S a linear map without bias; then gelu, but in the last block
      v' = W gelu(W u + b) + b + g v  C -> round(C / 2) -> C; g a gate per channel on the block's input v;
                                      then gelu, but in the last block
    W gelu(W v + b) + b               projection: C -> 2C -> 1

No normalisation, dropout, padding or bias elsewhere. With a normalisation, the first one acts on K v + b alone, the
second one on the sum with the gated input. K keeps the modes -M/2 ... M/2 - 1 of every axis but the last, and
0 ... M/2 of the last, with a complex C x C matrix for each (in three dimensions too: all of them have gradients).
The transform divides by the number of points on the way in.

Parameters (a complex number counts twice): L (2 C^2 prod(modes) + C + C^2 + 2 C h + h + C + C), h = round(C / 2), and
(1 + d) 2C + 2C + 2C^2 + C for lifting, 2C^2 + 2C + 2C + 1 for projection: 4,469,601 at 32 x 32 modes and C = 32, which
its parameter tensors' numel() gives as 2,241,377.

Initial values: complex weights normal with E|R|^2 = 1/C, so each part has variance 1 / 2C; spectral bias normal with
variance 1/C; every other weight and bias uniform within 1/sqrt(inputs of its map); gates 1.
"""

import argparse
import warnings
from collections.abc import Callable
from importlib.metadata import version

import torch
from line_protocol import serve
from neuralop.models import FNO
from neuralop.training import AdamW
from neuralop.utils import count_model_params
from sizes import SIZES, Size

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {"torch": torch.optim.AdamW, "neuralop": AdamW}


def main() -> None:
    """Build model and data, then serve `step` and `forward`."""
    options = _arguments()
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high" if options.tf32 else "highest")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    size = SIZES[options.size]
    model = _model(size).to(device)
    optimizer = OPTIMIZERS[options.optimizer](model.parameters(), lr=1e-3)
    inputs, outputs = torch.randn(2, size.batch, 1, *size.points, device=device)

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(model(inputs), outputs).backward()
        optimizer.step()
        wait()

    @torch.inference_mode()
    def forward() -> None:
        model(inputs)
        wait()

    serve({"step": step, "forward": forward}, _facts(model))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--optimizer", choices=OPTIMIZERS, default="torch")
    parser.add_argument("--tf32", action="store_true")
    return parser.parse_args()


def _model(size: Size) -> torch.nn.Module:
    model: torch.nn.Module = FNO(
        n_modes=size.modes, in_channels=1, out_channels=1, hidden_channels=size.width, n_layers=4
    )
    return model


def _facts(model: torch.nn.Module) -> dict[str, object]:
    return {
        "parameters": count_model_params(model),
        "threads": torch.get_num_threads(),
        "versions": {name: version(name) for name in ("torch", "neuraloperator")},
    }


if __name__ == "__main__":
    main()
