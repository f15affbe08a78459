import pytest
import tiny_runs

from hw2.inference.catalogue import catalogue


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Return a folder of tiny finished runs, see `tiny_runs.write_all`."""
    return tiny_runs.write_all(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="session")
def models(folder):
    return {model.key: model for model in catalogue(folder).models}
