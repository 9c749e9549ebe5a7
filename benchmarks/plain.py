"""The same work as plain eager PyTorch loops, as one would write them by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_offrl.transitions import Transitions

OBS, ACT, MEMBERS = 17, 6, 7


class Linears(nn.Module):
    """Batched linear layers as one would write them by hand."""

    def __init__(
        self, members: int, sizes: list[int], activation: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.activation = activation
        pairs = list(pairwise(sizes))
        self.w = nn.ParameterList(torch.randn(members, i, o) / i**0.5 for i, o in pairs)
        self.b = nn.ParameterList(torch.zeros(members, 1, o) for _, o in pairs)

    def forward(self, x: Tensor) -> Tensor:
        for k, (w, b) in enumerate(zip(self.w, self.b, strict=True)):
            x = torch.baddbmm(b, x, w)
            if k < len(self.w) - 1:
                x = self.activation(x)
        return x


def plain_actor(device: str) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Linear(OBS, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()), nn.Linear(256, 2 * ACT)
    ).to(device)


class PlainUpdates:
    """MABE's update, written out."""

    def __init__(self, device: str) -> None:
        self.actor, self.prior = plain_actor(device), plain_actor(device).requires_grad_(False)
        sizes = [OBS + ACT, 256, 256, 256, 1]
        self.q = Linears(2, sizes, torch.relu).to(device)
        self.target = Linears(2, sizes, torch.relu).to(device).requires_grad_(False)
        self.log_beta = torch.zeros((), device=device, requires_grad=True)
        self.q_opt = torch.optim.Adam(self.q.parameters(), 3e-4, fused=True)
        self.actor_opt = torch.optim.Adam(self.actor.parameters(), 3e-4, fused=True)
        self.beta_opt = torch.optim.Adam([self.log_beta], 3e-4, fused=True)

    def heads(self, net: nn.Module, s: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = net(s).chunk(2, -1)
        return mean, log_std.clamp(-5, 2)

    def kl(self, s: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.heads(self.actor, s)
        with torch.no_grad():
            prior_mean, prior_log_std = self.heads(self.prior, s)
        ratio = (2 * (log_std - prior_log_std)).exp()
        gap = ((mean - prior_mean) / prior_log_std.exp()).square()
        kl = 0.5 * (ratio + gap - 1).sum(-1) + (prior_log_std - log_std).sum(-1)
        return kl, torch.tanh(mean + log_std.exp() * torch.randn_like(mean))

    def value(self, net: nn.Module, s: Tensor, a: Tensor) -> Tensor:
        return net(torch.cat([s, a], -1).expand(2, -1, -1)).squeeze(-1)

    def __call__(self, b: Transitions) -> None:
        beta = self.log_beta.detach().exp()
        with torch.no_grad():
            kl, a = self.kl(b.next_observations)
            v = self.value(self.target, b.next_observations, a).min(0).values - beta * kl
            y = b.rewards + 0.99 * (~b.terminations) * v
        loss = 0.5 * (self.value(self.q, b.observations, b.actions) - y).square().mean(1).sum()
        self.q_opt.zero_grad()
        loss.backward()
        self.q_opt.step()
        kl, a = self.kl(b.observations)
        self.q.requires_grad_(False)
        loss = (beta * kl - self.value(self.q, b.observations, a).min(0).values).mean()
        self.actor_opt.zero_grad()
        loss.backward()
        self.actor_opt.step()
        self.q.requires_grad_(True)
        loss = -self.log_beta * (kl.detach().mean() - 1.0)
        self.beta_opt.zero_grad()
        loss.backward()
        self.beta_opt.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.q.parameters()), 0.005)


class PlainDynamics(nn.Module):
    """The ensemble, written out."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.net = Linears(MEMBERS, [OBS + ACT, 200, 200, 200, 200, 2 * (OBS + 1)], functional.silu)
        self.high = nn.Parameter(torch.full((OBS + 1,), 0.5))
        self.low = nn.Parameter(torch.full((OBS + 1,), -10.0))
        self.to(device)
        self.opt = torch.optim.Adam(self.parameters(), 1e-3, weight_decay=1e-5, fused=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, logvar = self.net(x).chunk(2, -1)
        logvar = self.high - functional.softplus(self.high - logvar)
        return mean, self.low + functional.softplus(logvar - self.low)

    def step(self, b: Transitions) -> None:
        mean, logvar = self(torch.cat([b.observations, b.actions], -1))
        y = torch.cat([b.rewards[..., None], b.next_observations - b.observations], -1)
        loss = ((mean - y).square() * (-logvar).exp() + logvar).mean((1, 2)).sum()
        loss = loss + 0.01 * (self.high.sum() - self.low.sum())
        self.opt.zero_grad()
        loss.backward()
        self.opt.step()

    @torch.no_grad()
    def rollout(self, actor: nn.Module, starts: Tensor, horizon: int) -> list[tuple[Tensor, ...]]:
        out = []
        for s in starts.split(5000 if starts.device.type == "cpu" else len(starts)):
            for _ in range(horizon):
                mean, log_std = actor(s).chunk(2, -1)
                a = torch.tanh(mean + log_std.clamp(-5, 2).exp() * torch.randn_like(mean))
                mu, logvar = self(torch.cat([s, a], -1).expand(MEMBERS, -1, -1))
                std = (0.5 * logvar).exp()
                member = torch.randint(5, (len(s),), device=s.device)
                row = torch.arange(len(s), device=s.device)
                y = mu[member, row] + std[member, row] * torch.randn_like(mu[0])
                r = y[:, 0] - std.square().sum(-1).amax(0).sqrt()
                out.append((s, a, r, s + y[:, 1:]))
                s = s + y[:, 1:]
        return out
