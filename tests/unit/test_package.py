"""The public names of the package."""

import entropy_grounding as eg
import entropy_grounding.evaluation.run
import entropy_grounding.grounding


def test_the_public_names_are_functions_and_classes_whatever_was_imported(monkeypatch):
    """A module of the same name would stand in the way: modules become attributes, too."""
    assert {"evaluation", "grounding"} <= set(vars(eg))
    for name, home in [(name, home) for home, names in eg._HOMES.items() for name in names]:
        monkeypatch.delitem(vars(eg), name, raising=False)
        found = getattr(eg, name)
        assert callable(found), name
        assert found.__module__.startswith("entropy_grounding."), (name, home)

    assert sorted(eg.__all__) == sorted(name for names in eg._HOMES.values() for name in names)
