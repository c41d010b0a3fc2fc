"""``resfit evaluate``: base against base + residual on the same starts, interleaved."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resfit_bringup import report
from resfit_bringup.pipeline import evaluate
from resfit_bringup.runs import LATEST, base_of, newest_actor, scene_of
from resfit_policy.actor import unpack_actor
from resfit_policy.base_policy import load_base
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.task import ConfigError
from resfit_sim.env import VegaEnv

TASK = ''  # the run's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--run', dest='run_dir', type=Path, default=LATEST, help='run folder (default: %(default)s)')
    parser.add_argument('--base', type=Path, help="frozen base policy (default: the run's)")
    parser.add_argument('--weights', type=Path, help="actor.safetensors (default: the run's newest checkpoint)")
    parser.add_argument(
        '--episodes', type=int, default=100, help='starts, each run by both arms (default: %(default)s)'
    )
    parser.add_argument(
        '--observation', choices=('state', 'vision'), help='what the base sees (default: as in the run, else state)'
    )
    parser.add_argument('--variant', help='demonstrated or unseen object (default: as in the run, else unseen)')


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Success with Wilson intervals, their difference with a Newcombe interval, mean steps to success."""
    if args.episodes < 1:
        raise ConfigError('--episodes must be 1 or more')
    task, observation, variant = scene_of(args.run_dir)
    variant = args.variant or variant
    env = VegaEnv(args.task or task, observation=args.observation or observation, variant=variant)
    weights = args.weights or newest_actor(args.run_dir)
    runtime = load_policy(env, str(args.base or base_of(args.run_dir) or args.run_dir / 'base'), weights)
    comparison, _, _ = evaluate(env, runtime, args.episodes, args.seed)
    print(report.table(comparison))  # noqa: T201
    return {'task': env.task.name, 'seed': args.seed, 'variant': variant, **comparison.as_dict()}


def load_policy(env: VegaEnv, base: str, weights: Path) -> PolicyRuntime:
    """A runtime with base and residual. Raises ConfigError where a file does not fit the task."""
    try:
        actor, exploration, version = unpack_actor(weights.read_bytes())
    except OSError as error:
        raise ConfigError(f'cannot read {weights}: {error.strerror}') from None
    if actor.config.absolute:
        raise ConfigError(f'{weights} says where to go, not how to correct a base: only "resfit experiment" has that')
    runtime = PolicyRuntime(env.task, load_base(base, env.task), pixels=actor.encoder is not None)
    runtime.set_weights(actor, exploration, version)
    return runtime
