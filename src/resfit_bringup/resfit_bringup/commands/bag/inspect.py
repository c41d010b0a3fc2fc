"""``resfit bag inspect``: what happened in each episode, and one digest of all that a learner would make of them."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from resfit_learner.bags import read_log
from resfit_learner.config import LearnerConfig
from resfit_learner.session import left_out
from resfit_learner.transitions import build_transitions
from resfit_policy.episode_log import Arm, Episode
from resfit_policy.task import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('path', type=Path, help="a bag, a run's folder, or its folder of episodes")
    parser.add_argument('--brief', action='store_true', help='one line per episode')


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Read every episode with the learner's own reader."""
    digest = hashlib.sha256()
    episodes = []
    problems: list[str] = []
    for episode in read_log(args.path, problems.append):
        print(describe(episode, args.brief))  # noqa: T201
        digest.update(transitions_digest(episode))
        episodes.append(episode)
    successes = sum(item.success for item in episodes)
    steps = sum(item.length for item in episodes)
    print(  # noqa: T201
        f'{len(episodes)} episodes, {successes} successes, {steps} steps, transitions {digest.hexdigest()[:16]}'
    )
    return {
        'episodes': len(episodes), 'successes': successes, 'steps': steps, 'transitions': digest.hexdigest(),
        'left_out': tell_left_out(args.path, problems, len(episodes)),
    }  # fmt: skip


def tell_left_out(path: Path, problems: list[str], read: int) -> list[str]:
    """Say which bags were not read, and why. Raises ConfigError where none of them could be.

    ``problems``: those that ``read_log`` found damaged. Bags that a replay node left unfinished are added.
    """
    if problems and not read:
        raise ConfigError(problems[0])
    found = [*problems, *(f'{folder} is unfinished or was moved aside' for folder in left_out(path))]
    for text in found:
        print(f'left out: {text}')  # noqa: T201
    return found


def transitions_digest(episode: Episode) -> bytes:
    """Hash of the transitions that the learner makes of an episode: equal to the bit means equal here."""
    config = LearnerConfig()
    transitions = build_transitions(episode, config.gamma, config.n_step)
    digest = hashlib.sha256()
    for value in vars(transitions).values():
        digest.update(np.asarray(value).tobytes())
    return digest.digest()


def describe(episode: Episode, brief: bool) -> str:
    """What happened, and, unless ``brief``, what residual and supervisor did."""
    line = (
        f'{episode.episode_id:6}  {episode.outcome.name.lower():8} {"success" if episode.success else "-":8}'
        f'{episode.length:5} steps  {Arm(episode.arm).name.lower():8}  seed {episode.seed}'
    )
    if brief:
        return line
    residual = np.abs(episode.residual[: episode.length])
    clipped = np.mean((episode.flags[: episode.length] & 2) > 0)
    seconds = (episode.stamp[-1] - episode.stamp[0]) * 1e-9
    return (
        f'{line}\n        {seconds:.1f} s, weights {episode.weights_version.min()}..{episode.weights_version.max()}, '
        f'residual mean {residual.mean():.4f} max {residual.max():.4f} rad, clipped {clipped:.0%}'
    )
