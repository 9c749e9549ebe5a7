"""Rows that take more memory than there is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lit_offrl.datasets.mapped import map_rows, write_rows
from lit_offrl.transitions import Transitions

ROWS, EPISODE, OBS, ACT = 5_000_000, 1000, 17, 6

# RLIMIT_DATA: what is allocated counts, and neither what the imports took nor the mapped files do.
IN_LITTLE_MEMORY = """
import resource, sys, time
from pathlib import Path
import torch
from lit_offrl.batches import BootstrapSampler, MixedSampler, UniformSampler, TransitionStore
from lit_offrl.datasets import OfflineDataset
from lit_offrl.batches.loader import prefetch
from lit_offrl.datasets.mapped import map_rows
from lit_offrl.dynamics import DynamicsEnsemble
from lit_offrl.priors import BehaviorValue, TanhGaussianPrior

def status(key):
    return 1024 * int(open("/proc/self/status").read().split(key + ":")[1].split()[0])

torch.set_num_threads(1)
limit, peak = int(sys.argv[2]), 0
allowed = status("VmData") + limit
resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
rows, starts = map_rows(Path(sys.argv[1]))
try:
    rows.map(torch.clone)
    sys.exit("the limit holds all rows")
except RuntimeError:
    pass

base = status("RssAnon")
data = OfflineDataset("large", rows, starts, None, None, None)
assert data.fingerprint and len(data.returns) == len(starts)
order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
train, holdout = order[1000:], order[:1000]
dynamics, critic, prior = DynamicsEnsemble(17, 6), BehaviorValue(17, 6), TanhGaussianPrior(17, 6)
dynamics.fit_statistics(data.chunks(train))
assert len(data.segments(10)) == len(rows) - 9 * len(starts)
store = TransitionStore(10_000, 17, 6, "cpu")
store.extend(rows[:10_000])
plans = {
    "bootstrap": (dynamics, lambda: BootstrapSampler(rows, train, holdout, 7, 256, 20, 0)),
    "next actions": (
        critic, lambda: UniformSampler(rows, data.with_next_actions, None, 256, 100, 0, 2000, True)
    ),
    "rows": (prior, lambda: UniformSampler(rows, train, holdout, 256, 100, 0, 2000)),
    "mixed": (None, lambda: MixedSampler(rows, store, 0.05, 256, 100, 2000, 0)),
}
for name, (module, made) in plans.items():
    plan = made()
    drawn = prefetch(plan.blocks(0), 20, torch.device("cpu"))
    first, start = next(drawn), time.perf_counter()
    peak = max(peak, status("RssAnon"))
    for block in drawn:
        peak = max(peak, status("RssAnon"))
    print(f"{name}: {19 / (time.perf_counter() - start):.1f} blocks/s")
    if module is not None:
        module.prepare_updates()
        few = first.rows[:3]
        metrics = module.loop(few, module.noise_for(few, torch.Generator()))
        assert all(value.isfinite() for value in metrics.values())
    del plan, drawn
peak = max(peak, status("RssAnon"))
size = sum(c.nbytes for c in vars(rows).values() if c is not None)
print(f"{size / 1e6:.0f} MB of rows, limit {limit / 1e6:.0f} MB over the imports' {base / 1e6:.0f} MB")
print(f"anonymous memory {(peak - base) / 1e6:.0f} MB, VmData {(status('VmData') - allowed + limit) / 1e6:.0f} MB")
assert peak - base < limit
"""


@pytest.mark.slow
def test_rows_larger_than_memory_are_trained_on(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    flags = torch.zeros(EPISODE, dtype=torch.bool)

    def episodes() -> Iterator[Transitions]:
        for _ in range(ROWS // EPISODE):
            seen = torch.randn(EPISODE + 1, OBS, generator=generator)
            act = torch.rand(EPISODE, ACT, generator=generator) * 2 - 1
            rew = torch.randn(EPISODE, generator=generator)
            yield Transitions(seen[:-1], act, rew, seen[1:], flags, flags)

    write_rows(episodes(), tmp_path / "large", {})
    assert len(map_rows(tmp_path / "large")[0]) == ROWS
    command = [sys.executable, "-c", IN_LITTLE_MEMORY, str(tmp_path / "large"), str(400 * 10**6)]
    # Memory that is given back counts as given back, and is not kept for later.
    settings = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(4 * 2**20)}
    ran = subprocess.run(command, capture_output=True, text=True, env=settings)
    print(ran.stdout)
    assert ran.returncode == 0, ran.stderr
