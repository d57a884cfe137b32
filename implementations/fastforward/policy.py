"""Proximal policy optimisation (Schulman et al., 2017) with episodes of a single step.

Nothing follows an action, so its return equals its reward and there is no discounting. This is a
contextual bandit. The state is one number, the requested sparsity.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from implementations.harness import standardise

WIDTHS = (1, 256, 256, 128)  # sizes of the state and the hidden layers, for actor and critic
VALUE = 0.5  # weight of the critic's error in the loss
NORM = 0.5  # maximum norm of the gradient of all parameters together


class Policy(nn.Module):
    """An actor (the mean of a Gaussian, with one standard deviation per action) and a critic."""

    def __init__(self, actions: int, epochs: int, rate: float, clip: float, entropy: float) -> None:
        super().__init__()
        self.epochs, self.clip, self.entropy = epochs, clip, entropy
        self.mean, self.value = network(actions), network(1)
        self.log_std = nn.Parameter(torch.zeros(actions))  # std starts at 1, same for all states
        self.optimiser = torch.optim.Adam(self.parameters(), lr=rate)

    def forward(self, states: Tensor) -> Normal:
        """Return the distribution of actions `[episodes, actions]` in `states [episodes]`."""
        return Normal(self.mean(states[:, None]), self.log_std.exp())

    def expected(self, states: Tensor) -> Tensor:
        """Return the rewards predicted by the critic, `[episodes]`."""
        rewards: Tensor = self.value(states[:, None])
        return rewards.squeeze(1)

    def learn(self, states: Tensor, actions: Tensor, rewards: Tensor) -> None:
        """Make actions whose reward exceeded the prediction more probable.

        `states` and `rewards` have shape `[episodes]`. The `actions [episodes, actions]` were
        sampled from the current policy. All episodes form one batch, which every epoch uses.
        """
        with torch.no_grad():
            drawn, before = self(states).log_prob(actions).sum(dim=1), self.expected(states)
            advantages = standardise(rewards - before)  # 0 if all are equal
        for _ in range(self.epochs):
            with torch.enable_grad():
                policy, now = self(states), self.expected(states)
                ratio = (policy.log_prob(actions).sum(dim=1) - drawn).exp()  # [episodes]
                clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
                gain = torch.minimum(ratio * advantages, clipped * advantages).mean()
                near = before + (now - before).clamp(-self.clip, self.clip)
                error = torch.maximum((now - rewards) ** 2, (near - rewards) ** 2).mean()
                entropy = policy.entropy().sum(dim=1).mean()
                loss = VALUE * error - gain - self.entropy * entropy
                self.optimiser.zero_grad()
                loss.backward()
            nn.utils.clip_grad_norm_(self.parameters(), NORM)
            self.optimiser.step()


def network(outputs: int) -> nn.Sequential:
    """Build a multilayer perceptron with ReLU between its layers and none after the last one."""
    layers: list[nn.Module] = []
    for width, following in pairwise(WIDTHS):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTHS[-1], outputs))
