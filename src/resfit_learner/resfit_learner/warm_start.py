"""Before the first online step: teach a network what the demonstrations correct in the frozen base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from resfit_policy.demonstrated import DemonstratedCorrection
from resfit_policy.episode_log import Episode
from resfit_policy.hand_view import hand_view
from resfit_policy.task import Task

BATCH = 128
LEARNING_RATE = 1e-3  # at the start; it falls to 0 along a cosine
BLUR = 0.05  # of what is seen, in standard deviations
VIEW_BLUR = 0.02  # of what the hands see: more would hide what a grasp depends on
LEAST_SPREAD = 1e-4  # rad, of a joint's error
SHOW_EVERY = 20  # updates; a signal is heard as often

Show = Callable[[int], None]


def demonstrated_correction(
    task: Task, demonstrations: Sequence[Episode], steps: int, show: Show = lambda step: None
) -> DemonstratedCorrection:
    """Fit the demonstrations' action less the base's in ``steps`` updates; ``show`` hears of some of them.

    ``demonstrations`` carry the base's action in ``base_action``.
    """
    state, base, executed = (
        torch.from_numpy(np.concatenate([getattr(item, name)[: item.length] for item in demonstrations]))
        for name in ('seen', 'base_action', 'executed_action')
    )
    error, size = executed - base, task.action_size
    view = hand_view(task)
    model = DemonstratedCorrection(state.shape[1] - 1, size, view.config)
    model.view = view
    with torch.no_grad():
        viewed = view(state[:, 1:], base)
    seen = state[:, 1 + size :]
    values = {
        'mean': seen.mean(0),
        'std': (seen - seen.mean(0)).square().mean(0).sqrt().clamp(min=0.02),  # std() warns where nothing is seen
        'action_mean': base.mean(0),
        'action_std': base.std(0).clamp(min=0.02),
        'view_mean': viewed.mean(0),
        'view_std': (viewed - viewed.mean(0)).square().mean(0).sqrt().clamp(min=0.01),
        'spread': error.std(0).clamp(min=LEAST_SPREAD),
        'longest': torch.tensor([float(max(item.length for item in demonstrations))]),
    }
    for name, value in values.items():
        getattr(model, name).copy_(value)
    blur = torch.cat([torch.zeros(1 + size), BLUR * model.std])
    view_blur = VIEW_BLUR * model.view_std
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        rows = torch.randint(len(state), (BATCH,))
        blurred = state[rows] + blur * torch.randn(BATCH, len(blur))
        near = viewed[rows] + view_blur * torch.randn(BATCH, len(view_blur))
        loss = ((model.members(blurred, base[rows], near) - error[rows]) / model.spread).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if (step + 1) % SHOW_EVERY == 0 or step + 1 == steps:
            show(step + 1)
    return model.requires_grad_(False)


def from_start(episode: Episode, correction: DemonstratedCorrection | None) -> Episode:
    """The episode with the corrected base's action in place of the base's: what the learner corrects."""
    if correction is None:
        return episode
    added = correction.act(episode.seen, episode.base_action)
    return replace(episode, base_action=episode.base_action + added)
