import pytest

from fedsim.trace.reader import Run
from tests.export.runs import priced


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return priced(tmp_path_factory.mktemp("export"))
