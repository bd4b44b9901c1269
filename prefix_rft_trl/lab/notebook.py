"""Prepare a notebook for the lab's models."""

import os
import sys
import tempfile
import warnings
from pathlib import Path


FIGURES = {"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}


def prepare_notebook() -> None:
    """Make a notebook quiet and quick: to be called before its other imports, some of which warn.

    - Works in a new temporary folder, which takes the runs, reports and scripts.
    - Computes on one thread, here and in commands: a tiny model is faster on one than on two.
    - Shows no progress bars of transformers, and no warnings that each run gives.
    - Finds the `prefix-rft` of this environment in cells such as `%%bash`, and prints its tables without colours.
    - Draws figures without frames, in a size that keeps the notebook small.
    """
    warnings.filterwarnings("ignore", message="IProgress not found")
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.* is deprecated")
    os.chdir(tempfile.mkdtemp())
    os.environ["OMP_NUM_THREADS"] = "1"

    import matplotlib.pyplot as plt
    import torch
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(1)
    disable_progress_bar()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    os.environ["FORCE_COLOR"] = ""  # which Jupyter sets
    plt.rcParams.update(FIGURES)
