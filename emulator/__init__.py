"""AWS App Runner on one machine: builds, runs, balances, scales to zero and meters."""

__version__ = "0.1.0"
