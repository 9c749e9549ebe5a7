"""Writes a ``RobotPolicy`` as ONNX, TorchScript or safetensors."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_offrl.errors import UserError, first_line
from lit_offrl.export.module import RobotPolicy, without_validation
from lit_offrl.training.files import whole

# Key of the metadata in a file.
KEY = "lit_offrl"
Metadata = dict[str, Any]


def write_onnx(module: RobotPolicy, metadata: Metadata, path: Path) -> None:
    """Write ONNX with a dynamic batch size; ``metadata`` is its property ``lit_offrl``, as JSON.

    Raises:
        UserError: The module cannot be exported, or the extra is not installed.
    """
    batch = {"observation": {0: torch.export.Dim("batch")}}
    with exporting("onnx"):
        program = torch.onnx.export(
            module,
            (module.example(2),),
            dynamo=True,
            verbose=False,
            input_names=["observation"],
            output_names=module.outputs,
            dynamic_shapes=batch,
        )
        assert program is not None
        program.model.metadata_props[KEY] = json.dumps(metadata)
        with whole(path) as part:
            program.save(part, external_data=False)


def run_onnx(path: Path, observations: Tensor) -> np.ndarray:
    """Run an ONNX file and return its actions."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found: np.ndarray = session.run(["action"], {"observation": observations.numpy()})[0]
    return found


def write_torchscript(module: RobotPolicy, metadata: Metadata, path: Path) -> None:
    """Write TorchScript with a dynamic batch size; ``metadata`` is its extra file ``lit_offrl.json``.

    Raises:
        UserError: The module cannot be exported.
    """
    with exporting("torchscript"):
        # A LightningModule cannot be traced, but a function that calls it can.
        traced = torch.jit.trace(lambda observation: module(observation), (module.example(2),))
        with whole(path) as part:
            torch.jit.save(traced, str(part), _extra_files={f"{KEY}.json": json.dumps(metadata)})


def run_torchscript(path: Path, observations: Tensor) -> np.ndarray:
    """Run a TorchScript file and return its actions."""
    with exporting("torchscript"):
        found = torch.jit.load(path)(observations)
    return (found if isinstance(found, Tensor) else found[0]).numpy()


def write_safetensors(module: RobotPolicy, metadata: Metadata, path: Path) -> None:
    """Write the weights; ``metadata`` is the file's ``lit_offrl``, as JSON.

    Raises:
        UserError: The extra is not installed.
    """
    with exporting("safetensors"):
        from safetensors.torch import save_file

        weights = {name: value.contiguous().clone() for name, value in module.state_dict().items()}
        with whole(path) as part:
            save_file(weights, part, metadata={KEY: json.dumps(metadata)})


class Format(NamedTuple):
    """A file format.

    Attributes:
        ending: End of the file's name.
        write: Function that writes a file.
        run: Function that runs a file and returns its actions, if the format can be run.
    """

    ending: str
    write: Callable[[RobotPolicy, Metadata, Path], None]
    run: Callable[[Path, Tensor], np.ndarray] | None = None


FORMATS = {
    "onnx": Format(".onnx", write_onnx, run_onnx),
    "torchscript": Format(".pt", write_torchscript, run_torchscript),
    "safetensors": Format(".safetensors", write_safetensors),
}


@torch.no_grad()
def largest_difference(to: Format, module: RobotPolicy, path: Path, rows: int = 1000) -> float:
    """Largest difference between actions of a file and of ``module``, at random observations around the data."""
    assert to.run is not None
    observations = module.example(rows, seed=1)
    found = module(observations)
    actions = found[0] if isinstance(found, tuple) else found
    return float(np.abs(to.run(path, observations) - actions.numpy()).max())


@contextmanager
def exporting(to: str) -> Iterator[None]:
    """Context of an export: no gradients, no messages of libraries, errors as one line.

    Raises:
        UserError: The export failed, or a library is not installed.
    """
    noisy = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), without_validation(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError as error:
        raise UserError(
            f"--to: {to} needs {error.name}, which is not installed; pip install 'lit-offrl[export]'"
        ) from error
    except OSError:
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise UserError(
            f"--to: {to} cannot hold this module ({first_line(cause)}); choose another format, or implement the module "
            "with plain tensor operations"
        ) from error
    finally:
        noisy.setLevel(level)
