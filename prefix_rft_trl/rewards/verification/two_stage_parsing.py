"""Parse LaTeX in two stages, which is several times faster and gives the same trees.

latex2sympy2_extended, on which Math-Verify builds, parses with ANTLR's full prediction (LL), which reconsiders the
full context at each decision. ANTLR's simple prediction (SLL) gives either the same tree or a syntax error; only then
is the full prediction needed. See `PredictionMode` of the ANTLR runtime.
"""

from typing import Any


def use_two_stage_parsing() -> None:
    """Make latex2sympy2_extended parse in two stages in this process, unless it has no such parser."""
    from antlr4.atn.PredictionMode import PredictionMode
    from latex2sympy2_extended import latex2sympy2

    parser_class: Any = getattr(latex2sympy2, "PSParser", None)
    if parser_class is None or getattr(parser_class, "has_two_stages", False):
        return

    class TwoStageParser(parser_class):
        has_two_stages = True

        def math(self) -> Any:
            self._interp.predictionMode = PredictionMode.SLL
            try:
                return super().math()
            except Exception:
                tokens = self.getTokenStream()
                tokens.tokenSource.reset()
                self.setTokenStream(type(tokens)(tokens.tokenSource))  # a sign that no token begins with fails again
                self._interp.predictionMode = PredictionMode.LL
                return super().math()

    latex2sympy2.PSParser = TwoStageParser
