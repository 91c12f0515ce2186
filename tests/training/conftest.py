"""What several tests of `training` read: the shipped language identifier, a small corpus."""

from pathlib import Path

import pytest

from tests.bases import make_base
from tests.training.corpora import small_config
from training.data.corpus import build_corpus
from training.models.tokenizer import TokenizerConfig, train_tokenizer


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


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano encoder of random weights; each file's own, as tests publish beside it."""
    folder = tmp_path_factory.mktemp("bases") / "nano"
    make_base(folder, "encoder")
    return folder


@pytest.fixture(scope="session")
def tokenizer(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary of Mongolian alone."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(
        TokenizerConfig(
            corpus=small_corpus, output=folder, kind="encoder", vocabulary=420, languages=("khk",)
        )
    )
    return folder
