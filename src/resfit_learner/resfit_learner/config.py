"""Everything the learner can be told. YAML mirrors these fields; a recipe is a named set of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from resfit_policy.task import ConfigError, Task, parse_config, read_yaml

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
MACHINE = 'device', 'threads'  # settings of where it is learned, not of what


@dataclass(frozen=True, config=ConfigDict(extra='forbid'))
class LearnerConfig:
    """Hyper-parameters. The paper's value stands in brackets where ours differs."""

    # Return
    gamma: Annotated[float, Field(gt=0, lt=1)] = 0.99  # discount per control step
    n_step: Count = 10  # length of the n-step return (3 or 5)
    mc_share: Share = 0.5  # share of the Monte-Carlo return in the target (0)
    clamp_target: bool = True  # keep targets in [0, 1], where the return of one sparse bit lies (off)

    # Sampling
    batch: Count = 128  # (256)
    offline_fraction: Share = 0.5  # demonstrations in each batch
    state_noise: Annotated[float, Field(ge=0)] = 0.3  # blur of the state in updates, in standard deviations (0)
    utd: Positive = 2.0  # critic updates per online step (4; .25 to 8 compared)
    capacity: Count = 200_000  # online steps kept in memory
    min_steps: Annotated[int, Field(ge=0)] = 500  # online steps before the first update, the warm-up (10000)
    critic_burst: Annotated[int, Field(ge=0)] = 0  # critic updates made at once when the warm-up ends (10000)

    # Critic
    heads: Annotated[int, Field(ge=2)] = 5  # ensemble size (10)
    subset: Count = 2  # random heads whose minimum is the target
    critic_loss: Literal['mse', 'hl_gauss'] = 'mse'  # hl_gauss: cross-entropy over ``bins`` values from 0 to 1
    bins: Annotated[int, Field(ge=2)] = 51  # and a few more of the same width on either side
    critic_hidden: tuple[int, ...] = (64, 64)  # (1024, 1024)
    critic_lr: Positive = 3e-4  # (1e-4)
    layer_norm: bool = True
    tau: Annotated[float, Field(gt=0, le=1)] = 0.005  # Polyak averaging of critic and actor targets

    weight_decay: Annotated[float, Field(ge=0)] = 0.01  # of AdamW, for critic and actor
    grad_clip: Annotated[float, Field(ge=0)] = 0.0  # largest norm of a gradient, critic and actor apart; 0: any (1)

    # Actor
    actor_hidden: tuple[int, ...] = (64, 64)  # (1024, 1024)
    actor_lr: Positive = 1e-4  # (1e-6)
    actor_delay: Count = 4  # critic updates per actor update
    critic_warmup: Annotated[int, Field(ge=0)] = 20_000  # critic-only updates before the actor moves (10000)
    # Step, per actor update, of the mean of the actor's weights that acts; 1: the actor itself acts (1)
    averaging: Annotated[float, Field(gt=0, le=1)] = 1.0
    target_noise: Annotated[float, Field(ge=0)] = 0.05  # std of target smoothing, in bounds (0.25)
    target_noise_clip: Annotated[float, Field(ge=0)] = 0.3  # (1.5)
    caution: Annotated[float, Field(ge=0)] = 0.0  # standard deviations over heads by which a correction must gain (0)
    l2: Annotated[float, Field(ge=0)] = 1.0  # in the actor's loss, squared correction beyond the lasting one (0)
    imitation: Annotated[float, Field(ge=0)] = 1.0  # pull towards corrections of successful online episodes (0)

    phase_steps: Count = 40  # control steps of a phase, each with a lasting correction of its own (a whole episode)
    offset_rate: Share = 0.3  # step per episode towards the best lasting corrections (``phase_critic``; 0)
    # Updates that teach a network, frozen then, what the demonstrations correct in the base; all else comes on top (0)
    warm_start: Annotated[int, Field(ge=0)] = 0
    zero_init: bool = True  # the residual starts at exactly zero

    # Residual: directions and bounds. error: directions of the base's error; joints: one per joint; absolute: joint
    # targets in place of a correction, the base is neither used nor seen (for baselines)
    residual: Literal['error', 'joints', 'absolute'] = 'error'  # (joints)
    directions: Count = 8  # principal directions of the base's error
    phase_directions: bool = False  # directions and bounds of each phase's own error, in place of one set for all
    held_out: Annotated[float, Field(gt=0, le=1)] = 0.2  # share of demonstrations, the last ones, not used in BC
    bound: Positive = 3.0  # error: in standard deviations; joints: of the joint's widened half range (0.1 or 0.2)
    ramp_steps: Annotated[int, Field(ge=0)] = 0  # online steps over which the bound grows from 0, 0: at once (0)
    correction_cut: Positive = 1.0  # the critic is told of corrections up to this many bounds (any: 10)
    state_floor: Positive = 0.02  # least standard deviation of the state's normaliser, rad or m (0.1)
    q_gate: float | None = None  # correct only where mean - q_gate * std of Q(correction) - Q(base) is above 0 (off)

    # Exploration; noise in bounds: the paper's 0.05 of a joint's range is 0.25 of its bound
    explore_std: Annotated[float, Field(ge=0)] = 0.25  # at the start (0.25)
    explore_std_end: Annotated[float, Field(ge=0)] = 0.05  # (0.25)
    explore_episodes: Count = 200  # online episodes from the first to the last value (its noise is constant)
    explore_hold: Annotated[int, Field(ge=0)] = 0  # control steps per draw, 0: a phase (1)
    warmup_noise: Annotated[float, Field(ge=0)] = 0.0  # in the warm-up: even between -this and this; 0: as after (1)

    # Episodes after which the residual's label counts 1/e when it is compared with the base: where it is likely the
    # worse one, the base acts alone (``trust``). 0: never (0)
    trust_episodes: Annotated[int, Field(ge=0)] = 0

    # Images, where the task is seen by cameras
    encoder: Literal['frozen', 'vit', 'cnn'] = 'frozen'  # features of the frozen base, or an encoder of its own (vit)
    image_shift: Annotated[int, Field(ge=0)] = 4  # pixels, random shift of the images such an encoder learns from

    # Of the updates, as torch calls it: cpu, cuda, cuda:1. auto: a GPU, if there is one, for an encoder of its own; the
    # CPU for all else, which is too small to gain. The policy acts on the CPU (cuda)
    device: str = 'auto'
    threads: Count = 1  # torch threads

    @property
    def on_graph(self) -> bool:
        """Whether the policy node can act by what is learned."""
        return self.q_gate is None and self.residual != 'absolute'

    def refuse_on_graph(self) -> None:
        """Raises ConfigError for what the nodes cannot do."""
        if not self.on_graph:
            raise ConfigError(
                'a Q-gate needs the critic, and absolute actions are no bounded correction: such recipes run '
                'in-process only, with "resfit experiment"; choose another one'
            )

    def from_pixels(self, task: Task) -> bool:
        """The residual looks at the images of ``task`` with an encoder of its own."""
        return task.from_pixels and self.encoder != 'frozen'

    def updates_due(self, env_steps: int) -> int:
        """Critic updates that belong to so many online steps: the burst, then ``utd`` for each step."""
        steps = env_steps - self.min_steps
        return self.critic_burst + round(steps * self.utd) if steps > 0 else 0

    def utd_held(self, env_steps: int, updates: int) -> float:
        """Updates per online step that were really made, the burst apart; 0 before there are any."""
        steps = env_steps - self.min_steps
        return max(0, updates - self.critic_burst) / steps if steps > 0 else 0.0

    @model_validator(mode='after')
    def _check(self) -> LearnerConfig:
        if self.subset > self.heads:
            raise ValueError(f'subset ({self.subset}) cannot exceed heads ({self.heads}); lower subset')
        if self.warm_start and self.residual == 'absolute':
            raise ValueError('warm_start corrects the base, which an absolute residual does not use; leave it out')
        if self.min_steps >= self.capacity:
            raise ValueError('min_steps must be below capacity, or learning never starts')
        return self


RECIPES: dict[str, LearnerConfig] = {
    # For joint targets: lasting corrections, and an actor near them, on top of a warm start.
    'resfit_ros': LearnerConfig(warm_start=8000, phase_directions=True),
    # The same from the bare base on: at first it acts as the base does, to the bit.
    'resfit_cold': LearnerConfig(),
    # For actions that add up (velocities, deltas), where what lasts does harm, and for few demonstrations, which teach
    # no warm start: the step-wise actor alone, from the start, and little noise (docs/learning.md).
    'resfit_steps': LearnerConfig(
        mc_share=0.1,
        state_noise=0.1,
        actor_lr=3e-4,
        critic_warmup=5000,
        averaging=0.002,
        caution=0.3,
        l2=0.1,
        imitation=0.3,
        phase_steps=100_000,
        offset_rate=0.0,
        explore_std=0.05,
        explore_hold=5,
        trust_episodes=10,
    ),
    # As published, with the defects of its code fixed (docs/learning.md). There, noise is in units of a joint's
    # widened range, of which a bound is 0.2: std 0.05 is 0.25 of the bound, +-0.2 the whole of it, a cut at 0.3 is 1.5.
    'paper': LearnerConfig(
        gamma=0.99,
        n_step=3,
        mc_share=0.0,
        clamp_target=False,
        batch=256,
        offline_fraction=0.5,
        state_noise=0.0,
        utd=4.0,
        capacity=200_000,
        min_steps=10_000,
        critic_burst=10_000,
        heads=10,
        subset=2,
        critic_loss='mse',
        critic_hidden=(1024, 1024),
        critic_lr=1e-4,
        layer_norm=True,
        tau=0.005,
        weight_decay=0.01,
        grad_clip=1.0,
        actor_hidden=(1024, 1024),
        actor_lr=1e-6,
        actor_delay=4,
        critic_warmup=10_000,
        averaging=1.0,
        target_noise=0.25,
        target_noise_clip=1.5,
        caution=0.0,
        l2=0.0,
        imitation=0.0,
        phase_steps=100_000,
        offset_rate=0.0,
        warm_start=0,
        zero_init=True,
        residual='joints',
        phase_directions=False,
        bound=0.2,
        ramp_steps=0,
        correction_cut=10.0,
        state_floor=0.1,
        q_gate=None,
        explore_std=0.25,
        explore_std_end=0.25,
        explore_hold=1,
        warmup_noise=1.0,
        trust_episodes=0,
        encoder='vit',
        image_shift=4,
    ),
    # RLPD without a base, as the paper tunes it: n-step, layer norm, 10 heads, falling noise.
    'rlpd': LearnerConfig(
        batch=256,
        n_step=3,
        mc_share=0.0,
        state_noise=0.0,
        utd=4.0,
        min_steps=1000,
        heads=10,
        critic_hidden=(256, 256),
        actor_hidden=(256, 256),
        actor_lr=1e-4,
        actor_delay=4,
        critic_warmup=0,
        target_noise=0.05,
        l2=0.0,
        imitation=0.0,
        phase_steps=100_000,
        offset_rate=0.0,
        residual='absolute',
        bound=0.2,
        correction_cut=1.0,
        explore_std=0.1,
        explore_std_end=0.05,
        explore_hold=1,
    ),
}
# The same with networks that a CPU can train: about nine times cheaper (benchmarks/update_speed.py).
RECIPES['paper_small'] = replace(RECIPES['paper'], critic_hidden=(256, 256), actor_hidden=(256, 256))
# IBRL: as rlpd, and each step takes the better of the base's action and the learned one, by Q; the base alone acts
# until there is one.
RECIPES['ibrl'] = replace(RECIPES['rlpd'], q_gate=0.0, min_steps=2500, critic_burst=5000, critic_warmup=5000)


def load_config(recipe: str = 'resfit_ros', path: str | Path | None = None, /, **changes: Any) -> LearnerConfig:
    """Recipe, then a YAML file, then single values, each over the one before. Raises ConfigError."""
    if recipe not in RECIPES:
        raise ConfigError(f'no recipe "{recipe}": choose one of {", ".join(sorted(RECIPES))}')
    read = (read_yaml(Path(path)) or {}) if path else {}
    # A file need make sense on top of its recipe only; one that is no mapping is for ``parse_config`` to refuse.
    values = {**asdict(RECIPES[recipe]), **read, **changes} if isinstance(read, dict) else read
    return parse_config(LearnerConfig, values, str(path or 'learner configuration'))
