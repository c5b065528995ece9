"""Products with the derivative of the mean in the inputs, for whoever designs inputs by gradients."""

from serving.derivatives.endpoint import DerivativesEndpoint

__all__ = ["DerivativesEndpoint"]
