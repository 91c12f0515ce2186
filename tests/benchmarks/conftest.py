"""A models folder with modules, and a small experiment on it."""

import shutil

import pytest

from benchmarks.experiment import Churn, Experiment, ManyModules
from tests.service.published import publish_fleet


@pytest.fixture
def models(tiny_encoder, tmp_path):
    folder = tmp_path / "models" / tiny_encoder.name
    shutil.copytree(tiny_encoder, folder)
    publish_fleet(folder)
    return folder.parent


@pytest.fixture
def experiment(models):
    return Experiment.model_validate(
        {
            "name": "small",
            "title": "Small",
            "models": models,
            "threads": 1,
            "work": [{"endpoint": "fill_mask", "languages": ["mn", "ko", "en"]}],
            "requests": 3,
            "texts": 2,
            "concurrencies": [1, 4],
            "repetitions": 2,
        }
    )


@pytest.fixture
def copied(models):
    """What both experiments with copies say."""
    return {
        "title": "Small",
        "models": models,
        "threads": 1,
        "copies": {"base": "tiny-encoder", "module": "mn-bottleneck", "count": 9},
        "work": {"endpoint": "fill_mask", "languages": ["mn", "ko"], "body": {"top_k": 3}},
        "concurrency": 4,
    }


@pytest.fixture
def many_modules(copied):
    own = {"name": "many", "slots": [9, 2], "requests": 24, "repetitions": 2}
    return ManyModules.model_validate({**copied, **own})


@pytest.fixture
def churn(copied):
    own = {"name": "churn", "slots": 2, "module_bytes": 1, "cycles": 50, "every": 20}
    return Churn.model_validate({**copied, **own})
