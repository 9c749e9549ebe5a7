"""Loggers by class path, as a run's ``config.yaml`` holds them."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import yaml
from lightning.pytorch.loggers import TensorBoardLogger
from moviepy import ImageSequenceClip
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lit_offrl.cli import main
from lit_offrl.training.loggers import log_video


def printed(config: Path, *more: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out), pytest.raises(SystemExit) as stopped:
        main(["fit", "--config", str(config), *more, "--print_config"])
    assert stopped.value.code == 0
    return out.getvalue()


@pytest.mark.parametrize("given", ["CSVLogger", "[CSVLogger, TensorBoardLogger]", "false"])
def test_loggers_are_read_again_as_they_were_written(
    given: str, tiny: Path, tmp_path: Path
) -> None:
    written = printed(tiny, "--trainer.logger", given)
    found = yaml.safe_load(written)["trainer"]["logger"]
    assert isinstance(found, (dict, list, bool))
    (tmp_path / "config.yaml").write_text(written)
    assert yaml.safe_load(printed(tmp_path / "config.yaml"))["trainer"]["logger"] == found


SPY = """
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger

class Mlflow(MLFlowLogger):
    def __init__(self, tracking_uri: str | None = None, artifact_location: str | None = None,
                 run_name: str | None = None) -> None:
        print("made:", tracking_uri, artifact_location, run_name)
        raise RuntimeError("seen")

class Board(TensorBoardLogger):
    def __init__(self, save_dir: str, name: str = "x", version: str | None = None) -> None:
        print("made:", save_dir, name, version)
        raise RuntimeError("seen")
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["spied.Mlflow"], "sqlite:///{run}/mlflow.db {run}/mlflow run-dynamics"),
        (["spied.Mlflow", "tracking_uri=http://here"], "http://here None run-dynamics"),
        (
            ["spied.Mlflow", "artifact_location=s3://a"],
            "sqlite:///{run}/mlflow.db s3://a run-dynamics",
        ),
        (["spied.Board"], "{run} tensorboard "),
        (["spied.Board", "version=mine"], "{run} tensorboard mine"),
    ],
)
def test_what_is_said_of_a_logger_stays(
    given: list[str],
    expected: str,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "spied.py").write_text(SPY)
    logger, *settings = given
    more = ["--trainer.logger", logger]
    for setting in settings:
        more += [f"--trainer.logger.{setting}"]
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(tiny), "--run_dir", str(tmp_path / "run"), *more])
    assert f"made: {expected.format(run=tmp_path / 'run')}\n" in capsys.readouterr().out


def test_mlflow_gets_the_metrics_and_figures(tiny: Path, tmp_path: Path) -> None:
    tracking = pytest.importorskip("mlflow.tracking")
    run = tmp_path / "run"
    arguments = ["--run_dir", str(run), "--trainer.logger", "MLFlowLogger"]
    main(["fit", "--config", str(tiny), *arguments, "--until", "dynamics"])
    client = tracking.MlflowClient(f"sqlite:///{run}/mlflow.db")
    (found,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert found.info.run_name == "run-dynamics"
    assert found.info.status == "FINISHED"
    steps = [m.step for m in client.get_metric_history(found.info.run_id, "dynamics/loss/nll")]
    assert steps == sorted(set(steps))
    assert len(steps) > 3
    assert list((run / "mlflow").rglob("imagined_segments.png"))


def test_tensorboard_gets_the_video(tmp_path: Path) -> None:
    frames = [np.full((32, 48, 3), 6 * n, dtype=np.uint8) for n in range(40)]
    film = tmp_path / "film.mp4"
    ImageSequenceClip(frames, fps=20).write_videofile(str(film), logger=None)
    logger = TensorBoardLogger(tmp_path, name="logs", version="")
    log_video([logger], "evaluation/policy", film, 30)
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    (image,) = events.Images("evaluation/policy")
    assert (image.step, image.width, image.height) == (30, 24, 16)
    with Image.open(io.BytesIO(image.encoded_image_string)) as animation:
        assert animation.n_frames == 10
