"""Proximal policy optimisation (Schulman et al., 2017) where an episode is a single step.

Nothing follows an action, so its return is its reward and there is nothing to discount: a
contextual bandit. The state is one number, the sparsity that is asked for.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from implementations.harness import standardise

WIDTHS = (1, 256, 256, 128)  # of the state and the hidden layers, in actor and critic alike
VALUE = 0.5  # weight of the critic's error in the loss
NORM = 0.5  # what the gradient of all parameters together is clipped to


class Policy(nn.Module):
    """An actor, which is the mean of a Gaussian with a deviation for each action, and a critic."""

    def __init__(self, actions: int, epochs: int, rate: float, clip: float, entropy: float) -> None:
        super().__init__()
        self.epochs, self.clip, self.entropy = epochs, clip, entropy
        self.mean, self.value = network(actions), network(1)
        self.log_std = nn.Parameter(torch.zeros(actions))  # whatever the state, and at first 1
        self.optimiser = torch.optim.Adam(self.parameters(), lr=rate)

    def forward(self, states: Tensor) -> Normal:
        """Return the distribution of actions `[episodes, actions]` in `states [episodes]`."""
        return Normal(self.mean(states[:, None]), self.log_std.exp())

    def expected(self, states: Tensor) -> Tensor:
        """Return the rewards that the critic expects, `[episodes]`."""
        rewards: Tensor = self.value(states[:, None])
        return rewards.squeeze(1)

    def learn(self, states: Tensor, actions: Tensor, rewards: Tensor) -> None:
        """Make actions that were rewarded beyond what was expected more probable.

        `states` and `rewards` are `[episodes]`; the `actions [episodes, actions]` were drawn from
        the policy as it is. All episodes together make one batch, which serves every epoch.
        """
        with torch.no_grad():
            drawn, before = self(states).log_prob(actions).sum(dim=1), self.expected(states)
            advantages = standardise(rewards - before)  # 0 where all are alike
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
    """Make a perceptron with ReLU between its layers and none at its end."""
    layers: list[nn.Module] = []
    for width, following in pairwise(WIDTHS):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(WIDTHS[-1], outputs))
