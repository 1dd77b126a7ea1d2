"""A name that a registry would refuse is refused before anything starts."""

from __future__ import annotations

import pytest

from pipeline.errors import InputError
from pipeline.registry.names import check_name, check_recipe_name


def test_a_model_without_a_name_is_refused() -> None:
    with pytest.raises(InputError, match="model name '' cannot be registered"):
        check_name("")
    check_name("my model_2-\u00e9")
    check_recipe_name("my model_2-\u00e9")


@pytest.mark.parametrize("name", ["wiki:small", "a/b", "a.b", "a%b", "a\x1bb", "it's"])
def test_a_recipes_name_that_no_model_can_have_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="becomes its model's") as caught:
        check_recipe_name(name)
    assert repr(name) in str(caught.value)
