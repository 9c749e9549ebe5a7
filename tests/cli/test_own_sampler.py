"""A sampler of the user's own, by its class path."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lit_offrl.cli import main

SAMPLER = '''
from lit_offrl.batches import MixedSampler

class Recent(MixedSampler):
    """The last rows of the log alone."""

    def __init__(self, data, batch_size, updates_per_block, updates_per_epoch, seed, share: float = 0.5):
        rows = data.rows_on(data.device)
        kept = rows[int(len(rows) * (1 - share)):]
        sizes = (batch_size, updates_per_block, updates_per_epoch, seed)
        super().__init__(kept, data.imagined, 0.5, *sizes)
        print(f"sampler: {len(kept)} of {len(rows)} rows")
'''


def test_a_sampler_by_class_path_draws_the_policys_batches(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "samplers_of_mine.py").write_text(SAMPLER)
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for name, own in (("default", []), ("own", ["--policy.sampler", "samplers_of_mine.Recent"])):
        more = ["--policy.sampler.share", "0.25"] if own else []
        run = tmp_path / name
        main(["fit", "--config", str(tiny), "--run_dir", str(run), *own, *more])
        (path,) = run.glob("policy-*/last.ckpt")
        found.append(torch.load(path, weights_only=True)["state_dict"]["actor.body.0.weight"])
    assert "sampler: " in capsys.readouterr().out
    assert not torch.equal(*found)
