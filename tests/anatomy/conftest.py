"""The zoo of small trained models, made once and kept in pytest's own cache."""

from pathlib import Path

import pytest

from tests.anatomy.zoo import Zoo, make_zoo


@pytest.fixture(scope="session")
def zoo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    return make_zoo(Path(cache.mkdir("anatomy_zoo")) if cache else tmp_path_factory.mktemp("anatomy_zoo"))
