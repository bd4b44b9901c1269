"""An attribute is replaced within a block alone, wherever an object has it from."""

import types
from contextlib import suppress

import pytest
import torch

from prefix_rft_trl.utils.patching import replaced


class Plain:
    of_class = "class"

    def __init__(self):
        self.own = "own"


class Slotted:
    __slots__ = ("own",)

    def __init__(self):
        self.own = "own"


class WithProperty:
    def __init__(self):
        self._value = "own"

    @property
    def own(self):
        return self._value

    @own.setter
    def own(self, value):
        self._value = value


class Model(torch.nn.Module):
    of_class = "class"

    def __init__(self):
        super().__init__()
        self.own = "own"
        self.layer = torch.nn.Linear(1, 1)


class Reader:
    """Forwards what is read, as DDP-like wrappers and PEFT's models do."""

    def __init__(self, inner):
        vars(self)["inner"] = inner

    def __getattr__(self, name):
        return getattr(vars(self)["inner"], name)


class Proxy(Reader):
    """Forwards what is read, set and deleted."""

    def __setattr__(self, name, value):
        setattr(self.inner, name, value)

    def __delattr__(self, name):
        delattr(self.inner, name)


def compiled(model):
    return torch.compile(model, backend="eager")


OWNERS = [
    (Plain, "own"),
    (Plain, "of_class"),
    (lambda: Plain, "of_class"),
    (lambda: type("Child", (Plain,), {}), "of_class"),
    (Slotted, "own"),
    (WithProperty, "own"),
    (lambda: types.ModuleType("module"), "__name__"),
    (Model, "own"),
    (Model, "layer"),
    (lambda: Reader(Plain()), "own"),
    (lambda: Reader(Reader(Plain())), "of_class"),
    (lambda: Proxy(Plain()), "own"),
    (lambda: Proxy(Proxy(Plain())), "of_class"),
    (lambda: compiled(Model()), "own"),
    (lambda: compiled(Model()), "of_class"),
    (lambda: compiled(Model()), "forward"),
    (lambda: compiled(Model()), "layer"),
]


@pytest.mark.parametrize(("make", "name"), OWNERS)
def test_attribute_is_replaced_and_restored(make, name):
    owner = make()
    before, own = getattr(owner, name), dict(getattr(owner, "__dict__", {}))
    with replaced(owner, name, "first"):
        assert getattr(owner, name) == "first"
        with suppress(RuntimeError), replaced(owner, name, "second"):
            assert getattr(owner, name) == "second"
            raise RuntimeError
        assert getattr(owner, name) == "first"
        with replaced(owner, name, "first"):  # the same once more
            pass
        assert getattr(owner, name) == "first"
    assert getattr(owner, name) == before
    assert dict(getattr(owner, "__dict__", {})) == own


@pytest.mark.parametrize("wrap", [Reader, Proxy, compiled])
def test_object_behind_one_that_forwards_is_left_alone(wrap):
    inner = Model()
    outer, before = wrap(inner), dict(vars(inner))
    with replaced(outer, "own", "outer"):
        assert (outer.own, inner.own) == ("outer", "own")
        with replaced(inner, "own", "inner"):
            assert (outer.own, inner.own) == ("outer", "inner")
    assert (outer.own, inner.own) == ("own", "own")
    assert vars(inner) == before


@pytest.mark.parametrize("make", [Plain, Model, lambda: Proxy(Plain()), lambda: compiled(Model())])
def test_attribute_that_was_missing_is_missing_again(make):
    owner = make()
    with replaced(owner, "added", 1):
        assert owner.added == 1
    assert not hasattr(owner, "added")
