import pytest

from prefix_rft_trl.comparison import numerals


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (950, "950"), (999.6, "1.00k"), (9_870, "9.87k"), (9_996, "10.0k"), (99_960, "100k"), (412_345, "412k"),
     (999_600, "1.00M"), (1_240_000, "1.24M"), (None, "-")],
)  # fmt: skip
def test_tokens_have_three_digits(count, text):
    assert numerals.tokens(count) == text


def test_seconds_and_settings_read_as_they_are_written():
    assert [numerals.seconds(value) for value in (4.21, 9.97, 31.4, 1240, None)] == [
        "4.2 s", "10 s", "31 s", "1,240 s", "-",
    ]  # fmt: skip
    assert [numerals.setting(value) for value in (2e-4, True, None, "no", "", [1, "a"])] == [
        "0.0002", "true", "null", "no", '""', '[1, "a"]',
    ]  # fmt: skip
