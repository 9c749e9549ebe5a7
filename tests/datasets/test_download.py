"""Files from the network, of a server that does not always answer as it should."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import pytest

from lit_offrl.datamodule import OfflineDataModule
from lit_offrl.datasets import d4rl, download, open_dataset
from lit_offrl.datasets.download import fetched
from lit_offrl.errors import UserError
from lit_offrl.evaluation import make_evaluator
from tests.tables import made, write


class Server:
    """Serves one file, as ``behaviour`` says.

    Attributes:
        behaviour: Of each answer in turn; the last one stays.
        asked: The ranges that were asked for.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.behaviour = ["whole"]
        self.asked: list[str | None] = []
        self.tag = ""
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}/file.hdf5"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        behaviour = self.behaviour.pop(0) if len(self.behaviour) > 1 else self.behaviour[0]
        asked = handler.headers.get("Range")
        if handler.headers.get("If-Range", self.tag) != self.tag:
            asked = None
        self.asked.append(asked)
        if behaviour.isdigit():
            handler.send_error(int(behaviour))
            return
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if behaviour == "no ranges":
            asked, first = None, 0
        content = b"<html>log in</html>" if behaviour == "page" else self.content[first:]
        handler.send_response(206 if asked else 200)
        handler.send_header("Content-Length", str(len(content)))
        if self.tag:
            handler.send_header("ETag", self.tag)
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2] if behaviour == "breaks off" else content)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    path = write(made(50, obs_dim=11, act_dim=3), tmp_path / "source.hdf5")
    served = Server(Path(path).read_bytes())
    thread = threading.Thread(target=served.http.serve_forever, daemon=True)
    thread.start()
    yield served
    served.http.shutdown()


def test_a_file_is_fetched_once(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "cache" / "a.hdf5"
    for _ in range(2):
        assert fetched("a", server.address, path).read_bytes() == server.content
    assert server.asked == [None]


def test_what_broke_off_is_gone_on_with(server: Server, tmp_path: Path) -> None:
    server.behaviour = ["breaks off", "whole"]
    path = fetched("a", server.address, tmp_path / "a.hdf5")
    assert path.read_bytes() == server.content
    assert server.asked == [None, f"bytes={len(server.content) // 2}-"]


def test_what_breaks_off_again_and_again_is_gone_on_with_next_time(
    server: Server, tmp_path: Path
) -> None:
    server.behaviour = ["breaks off"]
    with pytest.raises(UserError, match="run the same command again"):
        fetched("a", server.address, tmp_path / "a.hdf5")
    assert not (tmp_path / "a.hdf5").exists()
    server.behaviour = ["whole"]
    assert fetched("a", server.address, tmp_path / "a.hdf5").read_bytes() == server.content
    assert server.asked[-1] == f"bytes={len(server.content) - len(server.content) // 8}-"


def test_two_halves_are_of_one_version(server: Server, tmp_path: Path) -> None:
    server.behaviour, server.tag = ["breaks off", "503"], '"first"'
    with pytest.raises(UserError):
        fetched("a", server.address, tmp_path / "a.hdf5")
    server.behaviour, server.tag = ["whole"], '"second"'
    server.content = server.content[:-8] + b"newer..."
    assert fetched("a", server.address, tmp_path / "a.hdf5").read_bytes() == server.content


def test_content_changed_with_its_time_kept_is_noticed(server: Server, tmp_path: Path) -> None:
    path = fetched("a", server.address, tmp_path / "a.hdf5")
    before = path.stat()
    path.write_bytes(server.content[:-8] + b"another.")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UserError, match="delete it to fetch it again"):
        fetched("a", server.address, path)


def test_a_server_without_ranges_begins_anew(server: Server, tmp_path: Path) -> None:
    server.behaviour = ["breaks off", "no ranges"]
    assert fetched("a", server.address, tmp_path / "a.hdf5").read_bytes() == server.content


def test_a_server_in_trouble_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.behaviour = ["503", "whole"]
    assert fetched("a", server.address, tmp_path / "a.hdf5").read_bytes() == server.content


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [("404", "answered 404"), ("503", "cannot be fetched"), ("page", "gave no HDF5 file")],
)
def test_answers_that_are_no_file_are_refused(
    server: Server, behaviour: str, message: str, tmp_path: Path
) -> None:
    server.behaviour = [behaviour]
    with pytest.raises(UserError, match=message):
        fetched("a", server.address, tmp_path / "a.hdf5")
    assert not (tmp_path / "a.hdf5").exists()


def test_without_a_network_it_is_said_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is there a network"):
        fetched("a", "http://127.0.0.1:9/file.hdf5", tmp_path / "a.hdf5")


def test_a_file_that_was_changed_is_refused(server: Server, tmp_path: Path) -> None:
    path = fetched("a", server.address, tmp_path / "a.hdf5")
    path.touch()
    assert fetched("a", server.address, path) == path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="delete it to fetch it again"):
        fetched("a", server.address, path)


def test_an_id_of_d4rl_is_a_dataset(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(d4rl, "addresses", lambda: {"hopper-medium-v2": server.address})
    data = open_dataset("d4rl:hopper-medium-v2").read()
    assert data.name == "d4rl:hopper-medium-v2"
    assert data.env_spec is not None
    assert data.env_spec.id == "Hopper-v4"
    assert (tmp_path / "cache" / "d4rl" / "hopper-medium-v2.hdf5").is_file()


@pytest.mark.parametrize("speaks_it", [True, False])
def test_https_is_tried_first(speaks_it: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(request: urllib.request.Request, timeout: float) -> BytesIO:
        asked.append((request.full_url, request.get_method()))
        if not speaks_it:
            raise urllib.error.URLError("certificate verify failed")
        return BytesIO()

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    url = "http://example.org/a.hdf5"
    assert download.secured(url) == ("https://example.org/a.hdf5" if speaks_it else url)
    assert asked == [("https://example.org/a.hdf5", "HEAD")]


@pytest.mark.parametrize(
    ("id", "sizes", "environment"),
    [
        ("ant-medium-v2", (111, 8), "Ant-v4"),
        ("pen-human-v1", (45, 24), None),
        ("hammer-expert-v0", (46, 26), None),
        ("kitchen-mixed-v0", (60, 9), None),
        ("antmaze-umaze-v2", (29, 8), None),
    ],
)
def test_a_file_put_into_the_cache_needs_no_network(
    id: str,
    sizes: tuple[int, int],
    environment: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("LIT_OFFRL_CACHE", str(tmp_path))
    path = tmp_path / "d4rl" / f"{id}.hdf5"
    with pytest.raises(UserError, match=f"or put it at '{path}'"):
        open_dataset(f"d4rl:{id}")
    write(made(60, *sizes), path)
    data = OfflineDataModule(f"d4rl:{id}")
    assert (data.obs_dim, data.act_dim) == sizes
    assert data.dataset.score_max is not None
    # A robot that Gymnasium does not have is trained without evaluations.
    evaluator = make_evaluator(data, 1)
    assert (evaluator and evaluator.name) == environment  # type: ignore[union-attr]


def test_addresses_are_those_of_d4rl() -> None:
    known = d4rl.addresses()
    # Locomotion of version 0, 1 and 2, adroit of 0 and 1, kitchen, and mazes of 0 and 2.
    assert len(known) == 21 + 2 * 24 + 2 * 12 + 3 + 2 * 6
    root = "http://rail.eecs.berkeley.edu/datasets/offline_rl/"
    assert known["halfcheetah-medium-replay-v0"] == f"{root}gym_mujoco/halfcheetah_mixed.hdf5"
    assert known["walker2d-medium-replay-v0"] == f"{root}gym_mujoco/walker_mixed.hdf5"
    assert known["ant-medium-replay-v0"] == f"{root}gym_mujoco/ant_mixed.hdf5"
    assert known["pen-cloned-v0"] == f"{root}hand_dapg/pen-demos-v0-bc-combined.hdf5"
    assert known["door-expert-v1"] == f"{root}hand_dapg_v1/door-expert-v1.hdf5"
    kitchen = "kitchen_microwave_kettle"
    assert known["kitchen-complete-v0"] == f"{root}kitchen/mini_{kitchen}_light_slider-v0.hdf5"
    assert known["kitchen-mixed-v0"] == f"{root}kitchen/{kitchen}_bottomburner_light-v0.hdf5"
    maze = "noisy_multistart_True_multigoal_False_sparse"
    assert known["antmaze-medium-play-v0"] == f"{root}ant_maze_new/Ant_maze_big-maze_{maze}.hdf5"
    assert known["antmaze-large-play-v2"].endswith(f"v2/Ant_maze_hardest-maze_{maze}_fixed.hdf5")
    assert known["hopper-medium-expert-v2"] == f"{root}gym_mujoco_v2/hopper_medium_expert-v2.hdf5"


def test_the_nearest_id_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'd4rl:halfcheetah-medium-v2'"):
        open_dataset("d4rl:half-cheetah-medium-v2")
    assert download.PATIENCE_SECONDS * download.TRIES <= 30
