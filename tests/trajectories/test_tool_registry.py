"""Tools and environments by name: what a recipe may say, and what is refused before anything is loaded."""

from pathlib import Path

import pytest
from datasets import Dataset

from prefix_rft_trl.lab.agent.calculator import calculate
from prefix_rft_trl.rewards.registry import load_reward
from prefix_rft_trl.trajectories.tool_registry import check_environment_column, load_environments, load_tools
from prefix_rft_trl.utils.dotted_paths import RECIPE_FOLDERS, look_beside


OWN = '''
def search(query: str) -> str:
    """Searches.

    Args:
        query: what for
    """
    return query

def undocumented(query: str) -> str:
    return query

def unhinted(query):
    """Searches.

    Args:
        query: what for
    """

TEXT = "a text"

class Store:
    def reset(self, **row): pass
    def get_reward(self): return 1.0
    def _inner(self, anything): pass
    def get(self, key: str) -> str:
        """Reads.

        Args:
            key: of the value
        """
        return key

class NoReset:
    pass

class Undescribed:
    def reset(self, **row): pass
    def get(self, key): return key

def make_store(): return Store()

class Twin:
    @staticmethod
    def search(query: str) -> str:
        """Searches.

        Args:
            query: what for
        """
        return query
'''


@pytest.fixture(autouse=True)
def beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_tools_of_test.py").write_text(OWN)
    monkeypatch.setenv(RECIPE_FOLDERS, "")
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    look_beside(tmp_path / "recipe.yaml")


def test_registered_names_and_dotted_paths_are_tools() -> None:
    registered, own = load_tools(["lab_calculate", "my_tools_of_test.search"])
    assert registered is calculate
    assert own("found") == "found"


@pytest.mark.parametrize(
    ("text", "found"),
    [("def search(:", "SyntaxError: .*line 1"), ("raise RuntimeError('no key')", "RuntimeError: no key")],
)
def test_a_file_that_fails_is_refused_in_one_sentence_wherever_it_is_named(
    tmp_path: Path, text: str, found: str
) -> None:
    (tmp_path / "my_failing_file_of_test.py").write_text(text)
    for load in (lambda path: load_tools([path]), load_environments, load_reward):
        with pytest.raises(ValueError, match=rf"'my_failing_file_of_test.search'.*: {found}"):
            load("my_failing_file_of_test.search")


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["calculator"], r"`tools` has 'calculator', which is no registered tool \(lab_calculate\)\. .* dotted path"),
        (["my_tools_of_test.absent"], r"'my_tools_of_test.absent', which cannot be loaded: .*absent"),
        (["no_such_module.search"], r"cannot be loaded: No module named 'no_such_module'"),
        (["my_tools_of_test.TEXT"], r"is of the type str and no function\. Name a function\."),
        (["my_tools_of_test.Store"], r"is a class and no function\. .* `environment_factory`"),
        (
            ["my_tools_of_test.undocumented"],
            r"'my_tools_of_test.undocumented', which cannot .* docstring",
        ),
        (["my_tools_of_test.unhinted"], r"cannot be described to the model: .*type hint"),
        (["my_tools_of_test.search", "my_tools_of_test.search"], r"two that are called 'search'"),
    ],
)
def test_what_is_no_tool_is_refused_with_the_fix(names: list[str], found: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){found}"):
        load_tools(names)


def test_environments_are_classes_functions_or_several_by_name() -> None:
    assert load_environments("my_tools_of_test.Store").__name__ == "Store"
    assert type(load_environments("my_tools_of_test.make_store")()).__name__ == "Store"
    both = load_environments({"shop": "my_tools_of_test.Store", "house": "my_tools_of_test.make_store"})
    assert [*both] == ["shop", "house"]


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ({}, "has no environment"),
        ("Store", r"`environment_factory` is 'Store', which is no dotted path"),
        ({"shop": 3}, r"`environment_factory`, 'shop', is 3, which is no dotted path"),
        ({"shop": "my_tools_of_test.Absent"}, r"'shop', is 'my_tools_of_test.Absent', which cannot be loaded"),
        ("my_tools_of_test.TEXT", r"is of the type str and makes no environment"),
        ("my_tools_of_test.NoReset", r"has no method `reset`"),
        ("my_tools_of_test.Undescribed", r"whose method `get` cannot be described"),
    ],
)
def test_what_is_no_environment_is_refused_with_the_fix(setting: object, found: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){found}"):
        load_environments(setting)  # type: ignore[arg-type]


def test_rows_say_which_of_several_environments_they_have() -> None:
    several = load_environments({"shop": "my_tools_of_test.Store", "house": "my_tools_of_test.Store"})
    rows = Dataset.from_dict({"environment": ["shop", "house", "garden"]})
    check_environment_column(rows.select(range(2)), several)
    check_environment_column(rows, load_environments("my_tools_of_test.Store"))
    with pytest.raises(ValueError, match=r"Row 2, column 'environment': 'garden' .* shop, house"):
        check_environment_column(rows, several)
    with pytest.raises(ValueError, match=r"no column 'environment' .* it has: prompt"):
        check_environment_column(Dataset.from_dict({"prompt": ["a"]}), several)
