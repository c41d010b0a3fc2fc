"""Everything the learner can be told. YAML mirrors these fields; a recipe is a named set of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from resfit_policy.task import ConfigError, parse_config, read_yaml

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class LearnerConfig:
    """Hyper-parameters. The paper's value stands in brackets where ours differs."""

    # Return
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.99  # discount per control step
    n_step: Count = 10  # length of the n-step return (3 or 5)
    mc_share: Share = 0.5  # share of the Monte-Carlo return in the target (0)
    clamp_target: bool = True  # keep targets in [0, 1], where the return of one sparse bit lies (off)

    # Sampling
    batch: Count = 256
    offline_fraction: Share = 0.5  # demonstrations in each batch
    state_noise: Annotated[float, Field(ge=0)] = 0.5  # blur of the state in updates, in standard deviations (0)
    utd: Positive = 2.0  # critic updates per online step (4)
    capacity: Count = 200_000  # online steps kept in memory
    min_steps: Annotated[int, Field(ge=0)] = 500  # online steps before the first update (10000)

    # Critic
    heads: Annotated[int, Field(ge=2)] = 5  # ensemble size (10)
    subset: Count = 2  # heads whose minimum is the target
    critic_hidden: tuple[int, ...] = (128, 128)  # (1024, 1024)
    critic_lr: Positive = 3e-4  # (1e-4)
    layer_norm: bool = True
    tau: Annotated[float, Field(gt=0, le=1)] = 0.005  # Polyak averaging of critic and actor targets

    # Actor
    actor_hidden: tuple[int, ...] = (128, 128)  # (1024, 1024)
    actor_lr: Positive = 3e-4  # (1e-6)
    actor_delay: Count = 4  # critic updates per actor update
    critic_warmup: Annotated[int, Field(ge=0)] = 1000  # critic-only updates before the actor moves (10000)
    target_noise: Annotated[float, Field(ge=0)] = 0.05  # std of target smoothing, in the latent range
    target_noise_clip: Annotated[float, Field(ge=0)] = 0.3
    l2: Annotated[float, Field(ge=0)] = 0.0  # weight of the squared correction in the actor's loss (0)
    imitation: Annotated[float, Field(ge=0)] = 1.0  # pull towards corrections of successful online episodes (0)

    # Residual: directions and bounds
    residual: Literal['error', 'joints'] = 'error'  # directions from the base's error, or one per joint (joints)
    directions: Count = 8  # principal directions of the base's error
    held_out: Annotated[float, Field(gt=0, le=1)] = 0.2  # share of demonstrations, the last ones, not used in BC
    bound: Positive = 3.0  # error: in standard deviations; joints: of the joint's half range (0.1-0.2)

    # Exploration
    explore_std: Annotated[float, Field(ge=0)] = 0.3  # of the latent range, at the start (0.05)
    explore_std_end: Annotated[float, Field(ge=0)] = 0.1
    explore_steps: Count = 15_000  # online steps from the first to the last value
    explore_hold: Count = 20  # control steps per draw (1)

    threads: Count = 1  # torch threads

    @model_validator(mode='after')
    def _check(self) -> LearnerConfig:
        if self.subset > self.heads:
            raise ValueError(f'subset ({self.subset}) cannot exceed heads ({self.heads}); lower subset')
        if self.min_steps >= self.capacity:
            raise ValueError('min_steps must be below capacity, or learning never starts')
        return self


RECIPES: dict[str, LearnerConfig] = {
    'resfit_ros': LearnerConfig(),
}


def load_config(recipe: str = 'resfit_ros', path: str | Path | None = None, **changes: Any) -> LearnerConfig:
    """Recipe, then a YAML file, then single values, each over the one before. Raises ConfigError."""
    if recipe not in RECIPES:
        raise ConfigError(f'no recipe "{recipe}": choose one of {", ".join(sorted(RECIPES))}')
    values: dict[str, Any] = {}
    if path:
        read = read_yaml(Path(path)) or {}
        parse_config(LearnerConfig, read, str(path))
        values.update(read)
    values.update(changes)
    parse_config(LearnerConfig, values, 'learner configuration')
    return replace(RECIPES[recipe], **values)
