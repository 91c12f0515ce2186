"""What several tests of `training` read: the shipped language identifier, a small corpus."""

from pathlib import Path

import pytest

from tests.training.corpora import small_config
from training.corpus import build_corpus


@pytest.fixture(scope="session")
def identifier() -> Path:
    """The folder of the shipped language identifier."""
    return Path(__file__).parents[2] / "models" / "langid"


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus folder of three languages and one pair."""
    config = small_config(tmp_path_factory.mktemp("corpus"))
    build_corpus(config)
    return config.output
