"""What Snakemake's rules take from the configuration that a user types."""

import pytest

from pacavit.errors import PacavitError
from pacavit.pipeline import rules


@pytest.mark.parametrize(
    ("config", "scale"), [({}, "mini"), ({"scale": "paper"}, "paper"), ({"scale": 2}, "2")]
)
def test_the_configuration_names_the_scale(config, scale):
    assert rules.scale_of(config) == scale


@pytest.mark.parametrize("key", ["scal", "Scale", "SCALE", "scales", "scale "])
def test_a_mistyped_key_is_refused_with_the_near_one(key):
    with pytest.raises(PacavitError, match=rf"--config {key}=paper: unknown key; .* did you mean 'scale'\?"):
        rules.scale_of({key: "paper"})


def test_a_parameter_as_a_key_is_refused_with_where_it_belongs():
    with pytest.raises(PacavitError, match=r"--config epochs=3: unknown key; .* params/<scale>/"):
        rules.scale_of({"scale": "mini", "epochs": 3})
