"""Fixtures that tests of core and of extensions share; `pythonpath` in pyproject.toml names their folder."""

pytest_plugins = ["lamp_fixtures", "model_fixtures"]
