"""Model-based offline reinforcement learning with behaviour priors, on PyTorch Lightning."""

__version__ = "0.1.0"
