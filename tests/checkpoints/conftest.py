"""Small models whose weights the tests save in every form that trainers use."""

from saved_weights import model, saved, state  # noqa: F401, fixtures
