"""What a model may be called. Imports no mlflow: a name is checked before anything starts."""

from __future__ import annotations

from pipeline.errors import InputError


def check_name(name: str) -> None:
    """Refuse a name that a registry would refuse, or misread, when the model is there."""
    # MLflow takes no / and no :, and a quote would end the name inside a registry's filter.
    is_plain = name.isprintable() and not any(character in name for character in "/:.%\"'")
    if not name or not is_plain:
        raise InputError(
            f"model name {name!r} cannot be registered: give --name without / : . % or quotes."
        )


def check_recipe_name(name: str) -> None:
    """The same for the name that a recipe, or its corpus, gives a model."""
    try:
        check_name(name)
    except InputError:
        raise InputError(
            f"the recipe's name {name!r} becomes its model's, which cannot hold any of / : . % and "
            "quotes; call the recipe's file otherwise, or set its `name`."
        ) from None
