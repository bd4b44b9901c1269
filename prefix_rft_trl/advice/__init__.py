"""Advice on which method fits a model, its problems and its demonstrations: a probe, rules, and what to do next.

`prefix-rft advise` samples some answers and continuations of demonstrations (`probe`), reads what was found
(`probe_result`) by rules that come from the lab's map of regimes (`advice_rules`), and shows it (`advice_table`,
`advice_page`, `advised_recipe`).
"""
