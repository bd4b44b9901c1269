"""Advice in the terminal, at 80 columns."""

from dataclasses import replace

import pytest

from prefix_rft_trl.advice.advice_rules import advise
from prefix_rft_trl.advice.advice_table import print_advice
from prefix_rft_trl.advice.probe_result import Probed, Share


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("style", ["worked", "brief", "swapped"])
def test_fits_the_terminal_and_loses_nothing(style, columns, probe_findings, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    result = probe_findings(style)
    advice = advise(result)
    print_advice(advice, result)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    printed = " ".join(" ".join(lines).split())
    whole = [advice.headline, advice.why, *advice.would_change, *advice.warnings]
    assert [text for text in whole if text not in printed] == []
    assert all(change.setting in printed for change in advice.changes)


def test_device_and_time_are_shown_where_they_are_known(probe_findings, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    result = probe_findings(memory_gb=61.2, step_seconds=264.0, device="H100", max_steps=500)
    print_advice(advise(result), result)
    printed = " ".join(capsys.readouterr().out.split())
    assert "61.2 GB" in printed
    assert "264.0 s, 37 hours in all" in printed


def test_what_was_not_measured_is_said_and_names_cannot_write_to_the_terminal(probe_findings, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    empty = {name: Share(0, 0) for name in ("demonstrated", "accepted", "fitting", "readable_answers", "truncated")}
    emptied = dict.fromkeys(
        ("token_logps", "read_tokens", "first_token_logps", "demonstration_tokens", "answer_tokens"), ()
    )
    result = probe_findings(alone=Probed((), ()), continued={}, answer_in_prefix={}, **empty, **emptied)
    result = replace(result, model="\x1b[31mred", dataset="[bold]data[/bold]", token_entropies=())
    print_advice(advise(result), result)
    printed = capsys.readouterr().out
    assert "not measured" in printed
    assert "nan" not in printed
    assert "\x1b" not in printed
    assert "[bold]data[/bold]" in printed
