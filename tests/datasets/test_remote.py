"""Public Minari datasets: fetched once, gone on with when they break off, refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from minari.storage import remotes
from minari.storage.remotes.cloud_storage import CloudStorage

from lit_offrl.datasets import open_dataset
from lit_offrl.errors import UserError
from tests.factories import MakeDataset, episode

ID = "robot/far-v0"


class Shelf(CloudStorage):
    """A host that is a folder, and breaks off as often as ``breaks`` says."""

    root: Path
    breaks = 0
    asked = 0

    def __init__(self, name: str, token: str | None) -> None: ...

    def upload_dataset(self, dataset_id: str) -> None: ...

    def upload_namespace(self, namespace: str) -> None: ...

    def list_namespaces(self) -> Iterable[str]:
        return ["robot"]

    def download_namespace_metadata(self, namespace: str, path: Path) -> None:
        (path / namespace).mkdir(parents=True, exist_ok=True)
        (path / namespace / "namespace_metadata.json").write_text("{}")

    def list_datasets(self, prefix: str | None = None) -> Iterable[str]:
        return [ID] if ID.startswith(prefix or "") else []

    def get_dataset_metadata(self, dataset_id: str) -> dict[str, Any]:
        found = json.loads((self.root / dataset_id / "data" / "metadata.json").read_text())
        return {**found, "dataset_id": dataset_id}

    def download_dataset(self, dataset_id: Any, path: Path) -> None:
        Shelf.asked += 1
        (path / dataset_id / "data").mkdir(parents=True, exist_ok=True)
        if Shelf.breaks:
            Shelf.breaks -= 1
            raise OSError("the line is dead")
        shutil.copytree(self.root / dataset_id, path / dataset_id, dirs_exist_ok=True)


@pytest.fixture
def shelf(
    make_dataset: MakeDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> type[Shelf]:
    make_dataset([episode(0, 12), episode(1, 9)], ID)
    (tmp_path / "minari").rename(tmp_path / "far")
    monkeypatch.setenv("MINARI_REMOTE", "shelf://here")
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(remotes._registry, "shelf", lambda: Shelf)
    Shelf.root, Shelf.breaks, Shelf.asked = tmp_path / "far", 0, 0
    return Shelf


def test_a_public_dataset_is_fetched_once(shelf: type[Shelf]) -> None:
    for _ in range(2):
        assert len(open_dataset(f"minari:{ID}").read()) == 21
    assert shelf.asked == 1
    assert len(open_dataset(ID).read()) == 21


def test_what_broke_off_is_fetched_again(shelf: type[Shelf]) -> None:
    shelf.breaks = 1
    with pytest.raises(UserError, match="the line is dead; is there a network"):
        open_dataset(f"minari:{ID}")
    assert len(open_dataset(f"minari:{ID}").read()) == 21
    assert shelf.asked == 2


@pytest.mark.parametrize("id", ["robot/near-v0", "robot/far-v3"])
def test_what_is_not_there_is_refused(shelf: type[Shelf], id: str) -> None:
    with pytest.raises(UserError, match=r"no 'robot/.* to fetch, .*lists them"):
        open_dataset(f"minari:{id}")
    assert shelf.asked == 0


def test_a_cache_that_cannot_be_made_is_said(
    shelf: type[Shelf], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"LIT_OFFRL_CACHE: .* cannot be created, Not a directory"):
        open_dataset(f"minari:{ID}")


def test_an_id_needs_a_version(shelf: type[Shelf]) -> None:
    with pytest.raises(UserError, match="has no version; give one, such as minari:far-v0"):
        open_dataset("minari:far")


@pytest.mark.usefixtures("without_network")
def test_without_a_network_it_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(UserError, match="not known>; is there a network"):
        open_dataset("minari:mujoco/hopper/medium-v0")


def test_a_local_id_says_how_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(
        UserError, match="'minari:mujoco/hopper/medium-v0' downloads a public dataset"
    ):
        open_dataset("mujoco/hopper/medium-v0")
