"""Evaluation: samples of a model for each problem of a benchmark, and the scores computed from them."""

from typing import TYPE_CHECKING

from prefix_rft_trl.utils.lazy import lazy_front


__all__ = ["Benchmark", "BenchmarkCallback", "Sampling", "sample_conversations"]

if TYPE_CHECKING:
    from .benchmark import Benchmark
    from .conversations_with_tools import sample_conversations
    from .during_training import BenchmarkCallback
    from .sampling import Sampling

__getattr__, __dir__ = lazy_front(
    __name__,
    {
        "Benchmark": ".benchmark",
        "BenchmarkCallback": ".during_training",
        "Sampling": ".sampling",
        "sample_conversations": ".conversations_with_tools",
    },
)
