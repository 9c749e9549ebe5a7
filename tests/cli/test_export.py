"""``lit-offrl export``: files that act as the part does, in processes without lit-offrl."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open

from lit_offrl.cli import main
from lit_offrl.runs.folder import FinishedRun
from tests.pendulum import COLUMNS, ENVIRONMENT, pendulum_log, pendulum_options
from tests.runs import ROOT, TINY, fit, fit_algorithm

# None makes an import fail.
ALONE = "import sys; sys.modules.update(dict.fromkeys(['lit_offrl', {}]))\n"
ACTIONS = """
import numpy as np, onnxruntime, sys
session = onnxruntime.InferenceSession(sys.argv[1])
outputs = [output.name for output in session.get_outputs()]
found = session.run(None, {"observation": np.load("observations.npy")})
np.savez("found.npz", **dict(zip(outputs, found)))
"""
RETURNS = """
import gymnasium, numpy as np, onnxruntime
session = onnxruntime.InferenceSession("policy.onnx")
for seed in range(3):
    env, total, ended = gymnasium.make("{}"), 0.0, False
    observation, _ = env.reset(seed=seed)
    while not ended:
        seen = np.float32([*observation, {}])[None]
        (action,) = session.run(["action"], {{"observation": seen}})
        observation, reward, terminated, truncated, _ = env.step(action[0])
        total, ended = total + reward, terminated or truncated
    print(total)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of all stages on a pendulum's log."""
    folder = tmp_path_factory.mktemp("pendulum")
    pendulum_log(folder / "log.npz")
    options = pendulum_options(folder / "log.npz")
    options += ["--data.environment", ENVIRONMENT, "--policy.imagination.guard", "false"]
    fit(TINY, folder / "run", *options)
    return folder / "run"


@pytest.fixture(scope="module")
def observations() -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(10_000, 3, generator=generator).mul(3).numpy()


def export(*arguments: object) -> None:
    main(["export", *map(str, arguments)])


def alone(code: str, folder: Path, *arguments: str, without: str = "torch") -> str:
    """What a program prints that can import neither lit_offrl nor ``without``."""
    command = [sys.executable, "-c", ALONE.format(repr(without)) + code, *arguments]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def actions_of(run: Path, part: str, observations: np.ndarray) -> torch.Tensor:
    """The actions of a part in torques, -2 to 2."""
    module = FinishedRun(run).load(part)
    return 2 * module.act(torch.from_numpy(observations))  # type: ignore[union-attr, operator]


def test_onnx_acts_as_the_policy_does_and_says_what_it_is(
    run: Path, tmp_path: Path, observations: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    export(run, "--to", "onnx", "--output", tmp_path / "policy.onnx", "--guard", "true")
    assert "action, distance, log_density" in capsys.readouterr().out
    np.save(tmp_path / "observations.npy", observations)
    alone(ACTIONS, tmp_path, "policy.onnx")
    found = np.load(tmp_path / "found.npz")
    ours = actions_of(run, "policy", observations)
    assert np.abs(found["action"] - ours.numpy()).max() < 1e-5

    logged = np.load(run.parent / "log.npz")
    # Of an episode's last row nobody knows the next observation.
    columns = np.stack([logged[name] for name in COLUMNS], axis=1)[~logged["truncations"]]
    low, high, std = columns.min(0), columns.max(0), columns.std(0)
    beyond = np.maximum(low - observations, 0) + np.maximum(observations - high, 0)
    np.testing.assert_allclose(found["distance"], (beyond / std).max(1), rtol=1e-4, atol=1e-5)
    assert (found["distance"] == 0).any()
    prior = FinishedRun(run).load("prior")
    with torch.no_grad():
        density = prior.log_prob(torch.from_numpy(observations), ours / 2)  # type: ignore[union-attr, operator]
    np.testing.assert_allclose(found["log_density"], density.numpy(), rtol=1e-3, atol=1e-2)
    # A broken sensor is beyond every threshold.
    broken = observations[:3].copy()
    broken[1, 0], broken[2, 1] = np.nan, np.inf
    np.save(tmp_path / "observations.npy", broken)
    alone(ACTIONS, tmp_path, "policy.onnx")
    guard = np.load(tmp_path / "found.npz")
    assert np.isinf(guard["distance"]).tolist() == [False, True, True]
    assert np.isneginf(guard["log_density"]).tolist() == [False, True, True]
    np.save(tmp_path / "observations.npy", observations)

    said = alone(
        "import onnxruntime; s = onnxruntime.InferenceSession('policy.onnx')\n"
        "print(s.get_modelmeta().custom_metadata_map['lit_offrl'])",
        tmp_path,
    )
    about = json.loads(said)
    inputs, action = about["inputs"]["observation"], about["outputs"]["action"]
    assert inputs["names"] == COLUMNS
    np.testing.assert_allclose([inputs["low"], inputs["high"]], [low, high], rtol=1e-6)
    assert (action["names"], action["low"], action["high"]) == (["torque"], [-2], [2])
    assert about["data"]["environment"] == ENVIRONMENT
    assert about["data"]["fingerprint"] == FinishedRun(run).data.dataset.fingerprint
    assert isinstance(about["outputs"]["log_density"]["threshold"], float)

    main(["evaluate", str(run), "--episodes", "3", "--output", str(tmp_path / "evaluation.json")])
    (ours_returns,) = json.loads((tmp_path / "evaluation.json").read_text()).values()
    returns = [float(line) for line in alone(RETURNS.format(ENVIRONMENT, ""), tmp_path).split()]
    np.testing.assert_allclose(returns, ours_returns["returns"], rtol=1e-4)

    (program,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL
    )
    last = alone(program, tmp_path).splitlines()[-1]
    assert float(last.removeprefix("return ")) == pytest.approx(returns[0], abs=1e-2)
    assert len(list(filter(None, program.splitlines()))) == 15


def test_a_checkpoint_knows_its_data_wherever_it_is(
    run: Path, tmp_path: Path, observations: np.ndarray
) -> None:
    (policy,) = run.glob("policy-*/last.ckpt")
    (tmp_path / "far" / "away").mkdir(parents=True)
    moved = tmp_path / "far" / "away" / "policy.ckpt"
    shutil.copy(policy, moved)
    export(moved, "--to", "torchscript")
    np.save(tmp_path / "observations.npy", observations)
    alone(
        "import json, numpy as np, torch\n"
        "extra = {'lit_offrl.json': ''}\n"
        "policy = torch.jit.load('far/away/policy.pt', _extra_files=extra)\n"
        "assert json.loads(extra['lit_offrl.json'])['data']['rows'] == 390\n"
        "np.save('found.npy', policy(torch.from_numpy(np.load('observations.npy'))))\n"
        "assert policy(torch.zeros(1, 3)).shape == (1, 1)",
        tmp_path,
        without="lightning",
    )
    ours = actions_of(run, "policy", observations)
    assert np.abs(np.load(tmp_path / "found.npy") - ours.numpy()).max() < 1e-5

    content = torch.load(moved, weights_only=True)
    del content["data"]
    torch.save(content, moved)
    with pytest.raises(SystemExit, match="2"):
        export(moved)
    # Beside its run an old one is as good as a new one.
    torch.save(content, policy.with_name("old.ckpt"))
    export(policy.with_name("old.ckpt"), "--to", "safetensors", "--output", tmp_path / "old.st")
    assert (tmp_path / "old.st").is_file()


def test_safetensors_hold_what_the_formula_needs(
    run: Path, tmp_path: Path, observations: np.ndarray
) -> None:
    export(
        run, "--to", "safetensors", "--part", "prior", "--output", tmp_path / "prior.safetensors"
    )
    with safe_open(tmp_path / "prior.safetensors", "numpy") as file:
        about = json.loads(file.metadata()["lit_offrl"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert (about["part"], about["networks"]) == ("prior", {"prior": "TanhGaussianPrior"})
    net = {k.removeprefix("networks.prior.net."): v for k, v in weights.items()}
    hidden = (observations - net["normalizer.mean"]) / net["normalizer.std"]
    hidden = np.maximum(hidden @ net["body.0.weight"].T + net["body.0.bias"], 0)
    mean = (hidden @ net["body.2.weight"].T + net["body.2.bias"])[:, :1]
    action = weights["low"] + (np.tanh(mean) + 1) / 2 * (weights["high"] - weights["low"])
    assert np.abs(action - actions_of(run, "prior", observations).numpy()).max() < 1e-5


def test_a_policy_of_abm_on_several_tasks(tiny: Path, tmp_path: Path) -> None:
    tasks = ["--data.tasks", "[null, {class_path: tests.factories.Twice}]"]
    heads = ["--policy.module.heads", "2", "--prior.module.heads", "2"]
    run = tmp_path / "run"
    fit_algorithm(tiny, run, "abm_mpo", *tasks, *heads)
    rows = torch.randn(10_000, 6).numpy()
    rows[:, 4:] = np.eye(2)[np.arange(10_000) % 2]
    np.save(tmp_path / "observations.npy", rows)
    export(run, "--output", tmp_path / "policy.onnx", "--guard", "true")
    alone(ACTIONS, tmp_path, "policy.onnx")
    found = np.load(tmp_path / "found.npz")
    assert np.abs(found["action"] - 1.5 * actions_of(run, "policy", rows).numpy()).max() < 1e-5
    assert {"distance", "log_density"} <= {*found}
    said = alone(RETURNS.format("InvertedPendulum-v5", "1, 0"), tmp_path)
    main(["evaluate", str(run), "--episodes", "3"])
    (ours,) = json.loads((run / "evaluation.json").read_text()).values()
    returns = [float(line) for line in said.split()]
    np.testing.assert_allclose(returns, ours["returns_logged"], rtol=1e-4)
    export(run, "--to", "safetensors")
    with safe_open(run / "policy.safetensors", "numpy") as file:
        about = json.loads(file.metadata()["lit_offrl"])
    names = about["inputs"]["observation"]["names"]
    assert names[3:] == ["observation[3]", "task/logged", "task/Twice"]


def test_a_run_becomes_a_repository_of_the_hub(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "hub"
    export(run, "--to", "hub-folder", "--output", folder)
    card = ModelCard.load(folder / "README.md")
    (result,) = card.data.eval_results
    mean = json.loads((run / "results.json").read_text())["policy"]["return_mean"]
    assert float(result.metric_value.split()[0]) == pytest.approx(mean, abs=0.01)
    assert (card.data.library_name, result.dataset_name) == ("lit-offrl", ENVIRONMENT)
    assert "| 0 | cosine |" in card.text
    kept = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert [re.sub("-[0-9a-f]+/", "/", name) for name in kept] == [
        "README.md",
        "config.yaml",
        "figures/return.png",
        "policy/done.json",
        "policy/last.ckpt",
        "prior/best.ckpt",
        "prior/done.json",
        "results.json",
        "stages.json",
    ]
    # It is a run again.
    main(["evaluate", str(folder), "--episodes", "1"])
    export(folder, "--to", "safetensors")
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        export(run, "--to", "hub-folder", "--output", folder)
    assert "not empty" in capsys.readouterr().err


class Hub(BaseHTTPRequestHandler):
    """A stand-in for the hub, which keeps the files of commits."""

    files: ClassVar[dict[str, bytes]] = {}
    made: ClassVar[list[dict[str, object]]] = []

    def do_GET(self) -> None:
        self.answer({"sha": "0" * 40, "siblings": [], "id": "me/policy"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = f"http://{self.headers['Host']}/me/policy"
        if self.path.endswith("/api/repos/create"):
            self.made.append(json.loads(body))
            self.answer({"url": address, "id": "me/policy"})
        elif "/preupload/" in self.path:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            self.answer({"files": files})
        elif "/commit/" in self.path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = b64decode(line["value"]["content"])
            commit = {"commitUrl": f"{address}/commit/1", "commitOid": "1", "success": True}
            self.answer(commit)
        else:
            self.answer({"errors": [], "warnings": []})

    def answer(self, content: object) -> None:
        text = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("there", [True, False])
def test_a_run_is_pushed_to_the_hub(run: Path, tmp_path: Path, there: bool) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if not there:
        server.shutdown()
        server.server_close()
    place = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_TOKEN": "hf_none"}
    more = ["--to", "hub-folder", "--output", str(tmp_path / "hub"), "--push", "me/policy"]
    command = [sys.executable, "-m", "lit_offrl", "export", str(run), *more]
    environment = {**os.environ, **place, "HF_HOME": str(tmp_path / "home")}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if not there:
        assert ran.returncode == 2
        assert "--push: 'me/policy' was not uploaded" in ran.stderr.splitlines()[-1]
        return
    server.shutdown()
    server.server_close()
    assert ran.returncode == 0, ran.stderr
    assert "/me/policy/commit/1" in ran.stdout
    assert Hub.made[0]["visibility"] == "private"
    for path in (tmp_path / "hub").rglob("*.*"):
        assert Hub.files[str(path.relative_to(tmp_path / "hub"))] == path.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nowhere"], "nowhere"),
        (["{run}", "--to", "pickle"], "to"),
        (["{run}", "--output", "nowhere/policy.onnx"], "--output"),
        (["{run}", "--part", "critic"], "part: 'critic' is none of policy, prior"),
        (["{run}", "--to", "torchscript", "--output", "{run}/policy.onnx"], "give .pt"),
        (["{dynamics}"], "DynamicsEnsemble"),
        (["{run}", "--push", "me/policy"], "--push"),
        (["{dynamics}", "--to", "hub-folder"], "hub-folder"),
    ],
)
def test_what_cannot_be_exported_gets_one_line(
    run: Path, arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (dynamics,) = run.glob("dynamics-*/best.ckpt")
    with pytest.raises(SystemExit, match="2"):
        export(*[argument.format(run=run, dynamics=dynamics) for argument in arguments])
    error = capsys.readouterr().err
    assert named in error
    assert error.count("\n") == 1
