"""The model of Triton's Python backend that runs a compiled program; Triton's dynamic batches come as lists."""

import json
import os
import sys
from typing import Any

import triton_python_backend_utils as triton


class TritonPythonModel:
    """The names are Triton's."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the program and warm it up."""
        parameters = json.loads(args["model_config"])["parameters"]
        sys.path[:0] = parameters["path"]["string_value"].split(os.pathsep)  # the backend's Python is isolated
        import numpy as np
        from hlo_function import HloFunction

        self._function = HloFunction(parameters["folder"]["string_value"])
        for size in self._function.sizes:
            self._function(np.zeros((size, *self._function.shape), np.float32))

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer the requests of a batch."""
        import numpy as np

        inputs = [triton.get_input_tensor_by_name(request, "inputs").as_numpy() for request in requests]
        means = np.split(self._function(np.concatenate(inputs)), np.cumsum([len(part) for part in inputs])[:-1])
        return [triton.InferenceResponse([triton.Tensor("mean", np.ascontiguousarray(mean))]) for mean in means]
