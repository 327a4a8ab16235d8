"""Where torch computes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabular_automl.core.errors import AutoMLError

if TYPE_CHECKING:
    import torch


def choose_device(choice: str = "auto") -> torch.device:
    """Return the GPU where there is one and ``choice`` lets it be used, else the CPU.

    Parameters
    ----------
    choice : {"auto", "cpu", "cuda"}

    Raises
    ------
    AutoMLError
        When a GPU is asked for and torch sees none.
    """
    import torch

    if choice == "cuda" and not torch.cuda.is_available():
        raise AutoMLError(
            "device='cuda' needs a CUDA device, but torch sees none; "
            "use device='auto', or install a torch build that matches the driver."
        )
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(choice)
