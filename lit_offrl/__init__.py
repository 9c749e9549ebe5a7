"""Model-based offline reinforcement learning with behaviour priors, on PyTorch Lightning."""

__version__ = "0.2.0"
