import pytest

from tests.training.dataset_files import write_some_mocap


@pytest.fixture(scope="session")
def some_mocap(tmp_path_factory):
    """Path of a small part of the open set."""
    path = tmp_path_factory.mktemp("mocap") / "some.npz"
    write_some_mocap(path)
    return path
