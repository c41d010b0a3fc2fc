"""A short film: one failure of the base and one success of ResFiT from the same start, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from resfit_learner.rollout import observe
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import Task
from resfit_sim.env import VegaEnv

SIZE = (400, 300)  # pixels of one side
FPS = 10  # every other control step


def telling_seed(base: Sequence[Episode], resfit: Sequence[Episode]) -> int | None:
    """A start from which the base failed and ResFiT succeeded."""
    pairs = zip(base, resfit, strict=True)
    return next((first.seed for first, second in pairs if second.success and not first.success), None)


def film(path: Path, task: Task, variant: str, runtime: PolicyRuntime, seed: int) -> None:
    """Write an animated GIF of both arms from the start of ``seed``.

    Raises the simulation's RenderError where nothing can be rendered.
    """
    env = VegaEnv(task, 'vision' if task.from_pixels else 'state', variant, 'rgb_array')
    sides = [
        _frames(env, runtime, seed, Arm.BASE, 'frozen base'),
        _frames(env, runtime, seed, Arm.RESIDUAL, 'base + ResFiT residual'),
    ]
    length = max(len(side) for side in sides) + FPS
    images = []
    for index in range(length):
        pair = [side[min(index, len(side) - 1)] for side in sides]
        whole = Image.fromarray(np.concatenate(pair, axis=1))
        images.append(whole.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE))
    images[0].save(path, save_all=True, append_images=images[1:], duration=1000 // FPS, loop=0, optimize=True)


def _frames(env: VegaEnv, runtime: PolicyRuntime, seed: int, arm: Arm, caption: str) -> list[NDArray[np.uint8]]:
    raw, _ = env.reset(seed=seed)
    runtime.begin(arm, explore=False)
    frames, success, ended, steps = [_labelled(env, caption, '')], False, False, 0
    while not (success or ended):
        raw, _, terminated, truncated, info = env.step(runtime.step(observe(raw)).executed_action)
        success, ended, steps = bool(info['success']), bool(terminated or truncated), steps + 1
        if steps % 2 == 0 or success or ended:
            verdict = 'success' if success else 'failure' if ended else ''
            frames.append(_labelled(env, caption, verdict))
    return frames


def _labelled(env: VegaEnv, caption: str, verdict: str) -> NDArray[np.uint8]:
    image = Image.fromarray(np.asarray(env.render())).resize(SIZE, Image.Resampling.LANCZOS)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(16)
    draw.rectangle((0, SIZE[1] - 28, SIZE[0], SIZE[1]), fill=(24, 26, 30))
    draw.text((10, SIZE[1] - 24), caption, fill=(235, 235, 235), font=font)
    if verdict:
        colour = (64, 192, 112) if verdict == 'success' else (240, 100, 80)
        draw.text((SIZE[0] - 74, SIZE[1] - 24), verdict, fill=colour, font=font)
    return np.asarray(image)
