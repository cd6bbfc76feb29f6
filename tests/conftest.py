"""What tests share: the mirror, a cache of pulled files that outlives the run, a fresh home."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The offline mirror of third-party files, or a skip that says how to get one."""
    folder = os.environ.get("ATTENDING_MIRROR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ATTENDING_MIRROR is not set to the mirror folder; these tests need its real weights and scans")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pulled files, shared with the user's own cache so that nothing is downloaded twice."""
    from attending.site import cache_dir

    return cache_dir()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A hospital's folder that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture(scope="session")
def pulled(cache: Path) -> Callable[[str], dict[str, Path]]:
    """Pull a model or data set by id (once) and give its files; skips where no source of it can be reached."""
    from attending import models
    from attending.errors import PullFailed
    from attending.site import mirror_dir

    def pull(id: str) -> dict[str, Path]:
        try:
            models.pull(id, cache, mirror_dir())
        except PullFailed as refused:
            pytest.skip(f"{id} could not be pulled: {refused}")
        return models.files(id, cache)

    return pull
