from dataclasses import dataclass, field, fields

import pytest

from prefix_rft_trl.utils.documented import documented, first_sentence, parameter_texts


DOCSTRING = """
    Settings.

    Args:
        rate (`float`, *optional*, defaults to `0.2`):
            Share that is trained. Paper: 20%.

            A second paragraph.
        low, high (`float`): The two ends.

    Raises:
        ValueError: not a parameter.
    """


def test_texts_are_joined_to_one_line_and_shared_by_several_names():
    texts = parameter_texts(DOCSTRING)
    assert texts["rate"].split("  ")[0].startswith("Share that is trained. Paper: 20%.")
    assert "A second paragraph." in texts["rate"]
    assert texts["low"] == texts["high"] == "The two ends."
    assert set(texts) == {"rate", "low", "high"}


def test_help_of_own_fields_alone_is_filled():
    @dataclass
    class Base:
        other: int = field(default=0, metadata={"help": "inherited"})

    @documented
    @dataclass
    class Settings(Base):
        """
        Args:
            rate (`float`): Share of 20%.
        """

        rate: float = 0.2

    found = {one.name: one.metadata["help"] for one in fields(Settings)}
    assert found == {"other": "inherited", "rate": "Share of 20%%."}


def test_field_without_a_text_is_refused():
    with pytest.raises(TypeError, match="nothing about rate"):

        @documented
        @dataclass
        class Settings:
            """Nothing."""

            rate: float = 0.2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("One. Two.", "One."),
        ("As of Dr. GRPO. Two.", "As of Dr. GRPO."),
        ("No end", "No end"),
        ("0.95: the start (Eq. 3). B", "0.95: the start (Eq. 3)."),
    ],
)
def test_first_sentence(text, sentence):
    assert first_sentence(text) == sentence
