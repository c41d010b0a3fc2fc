"""The learner: ingest, sample, update, publish, checkpoint. All of it without ROS."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from resfit_learner.augmentation import random_shift
from resfit_learner.buffer import Batch, ReplayBuffer, concatenate
from resfit_learner.config import LearnerConfig
from resfit_learner.demonstrations import check_demonstrations
from resfit_learner.losses import actor_loss, critic_loss, surely_better, td_target, told
from resfit_learner.networks import EnsembleCritic, polyak
from resfit_learner.phase_critic import Outline, PhaseCritic
from resfit_learner.synergies import make_actor
from resfit_learner.transitions import build_transitions
from resfit_learner.trust import Trust
from resfit_learner.warm_start import Show, from_start
from resfit_policy.actor import ActorConfig, Exploration, pack_actor
from resfit_policy.episode_log import Episode, Phase
from resfit_policy.observation import Float
from resfit_policy.task import ConfigError, Task


def make_critic(config: LearnerConfig, shape: ActorConfig) -> EnsembleCritic:
    """An untrained ensemble for the corrections of such an actor."""
    bins = config.bins if config.critic_loss == 'hl_gauss' else 1
    return EnsembleCritic(
        shape.input_size, shape.latent_size, config.heads, config.critic_hidden, config.layer_norm, bins
    )


def find_device(config: LearnerConfig, task: Task) -> torch.device:
    """Where updates are computed. Raises ConfigError where torch has no such device."""
    name = config.device
    if name == 'auto':
        name = 'cuda' if config.from_pixels(task) and torch.cuda.is_available() else 'cpu'
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch without CUDA
        reason = str(error).splitlines()[0]
        raise ConfigError(f'device {name}: {reason}; "device: cpu" works everywhere') from None


def available_memory() -> int:
    """Bytes that can still be had, those that the kernel only keeps files in among them."""
    words = Path('/proc/meminfo').read_text().split()
    return 1024 * int(words[words.index('MemAvailable:') + 1])


@dataclass
class Counters:
    """How far a run has come."""

    sequence: int = 0  # newest replay sequence number ingested
    episodes: int = 0  # online episodes
    env_steps: int = 0  # online transitions
    updates: int = 0  # critic updates
    version: int = 0  # weights published


@dataclass(frozen=True)
class Resumed:
    """What a checkpoint had, and a log that is read again does not tell before its end."""

    sequence: int = 0
    exploration: Exploration = field(default_factory=Exploration)


class Learner:
    """Residual TD3 with a randomised ensemble over demonstrations and online episodes."""

    def __init__(
        self,
        config: LearnerConfig,
        task: Task,
        demonstrations: Sequence[Episode],
        seed: int = 0,
        show: Show = lambda step: None,
        resumed: ActorConfig | None = None,
    ) -> None:
        """``demonstrations`` carry the frozen base's action in ``base_action``, see ``relabel``.

        ``show`` hears of the updates of a warm start; ``resumed``: leave it out, a checkpoint follows that has its
        result, with an actor of this shape. Raises ConfigError where they cannot be learned from.
        """
        check_demonstrations(task, demonstrations)
        torch.set_num_threads(config.threads)
        torch.manual_seed(seed)
        self.config, self.task = config, task
        self.device = find_device(config, task)
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.counters = Counters()
        self.metrics: dict[str, float] = {}
        self._steps: dict[int, int] = {}  # length of each ingested episode

        self.actor = make_actor(config, task, demonstrations, show, resumed)
        self.critic = make_critic(config, self.actor.config)
        # What the policy gets: the actor, or a running mean of it. On the CPU, where episodes are, too.
        self.acting = copy.deepcopy(self.actor)
        self.offline = self._buffer(sum(len(episode.state) for episode in demonstrations))
        self.demonstrations = demonstrations
        self.fill_offline()
        self.online = self._buffer(config.capacity)
        if not config.zero_init:
            self.actor.net[-1].reset_parameters()  # type: ignore[operator]
            self.acting.net.load_state_dict(self.actor.net.state_dict())
        self.actor.to(self.device)
        self.critic.to(self.device)
        self.target_actor, self.target_critic = copy.deepcopy(self.actor), copy.deepcopy(self.critic)
        # Features come from the encoder itself, those of the next state, too (paper's code: the same).
        self.target_actor.encoder = None
        adam = partial(torch.optim.AdamW, weight_decay=config.weight_decay, fused=True)
        self.actor_optimiser = adam(self.actor.net.parameters(), config.actor_lr)
        groups = [{'params': list(module.parameters())} for module in (self.critic, self.actor.encoder) if module]
        self.critic_optimiser = adam(groups, config.critic_lr)  # the encoder learns from the critic alone

        self.phase_critic = PhaseCritic(self.actor.config.phases, self.actor.config.latent_size, config.offset_rate)
        self.trust = Trust(config.trust_episodes)
        self.resumed_from = Resumed()
        self.log = ''  # identity of the replay log that it learns from, '' before it is known

    def fill_offline(self) -> None:
        """Put the demonstrations into their buffer, as they look from where the actor starts."""
        for index, episode in enumerate(self.demonstrations):
            known = from_start(episode, self.acting.demonstrated)
            transitions = build_transitions(known, self.config.gamma, self.config.n_step)
            # The demonstrator's corrections are for its own objects: they are no example for what is learned online.
            self.offline.add(index, replace(transitions, success=False))

    def ingest(self, sequence: int, episode: Episode) -> None:
        """Take in an episode from the replay log, or its corrected label. An aborted one counts as nothing."""
        self.counters.sequence = max(self.counters.sequence, sequence)
        if episode.outcome == Phase.ABORTED:
            return
        episode = from_start(episode, self.acting.demonstrated)
        transitions = build_transitions(episode, self.config.gamma, self.config.n_step)
        # Where the base acted alone, what is missing is the warm start: no correction that could be learned from.
        foreign = episode.alone and self.acting.demonstrated is not None
        if len(transitions) and not foreign:
            self.online.add(episode.episode_id, transitions)
        own = episode.length > 0 and not episode.helped  # a result of its own
        if self.config.offset_rate and own and not foreign:
            self._learn_offset(episode)
        before = self._steps.get(episode.episode_id, 0)
        self.counters.episodes += episode.episode_id not in self._steps
        self._steps[episode.episode_id] = episode.length
        self.counters.env_steps += episode.length - before
        if self.config.trust_episodes and own:
            self.trust.add(episode.episode_id, episode.alone, episode.success)
            self.metrics |= {'base_share': self.trust.base_share}

    def _learn_offset(self, episode: Episode) -> None:
        """Move the actor's offsets towards the best lasting corrections, now that ``episode`` is known."""
        config, parts = self.actor.config, (episode.executed_action, episode.base_action, episode.seen[:, 0])
        latent = self.acting.to_latent(*(torch.from_numpy(part[: episode.length]) for part in parts))
        starts = np.arange(0, episode.length, config.phase_steps)[: config.phases]
        # The last phase lasts to the end. All of its draws would average out in a long episode, which mostly fails:
        # its first ``phase_steps`` have as much noise in them in every episode.
        means = np.stack([latent[at : at + config.phase_steps].clamp(-1, 1).mean(0).numpy() for at in starts])
        self.phase_critic.add(episode.episode_id, Outline(episode.success, means, episode.seen[starts, 1:]))
        offset = torch.from_numpy(self.phase_critic.correction).atanh()
        for actor in (self.actor, self.target_actor, self.acting):
            actor.offset.copy_(offset)

    @property
    def owed(self) -> int:
        """Critic updates owed for the online steps ingested, at the configured UTD."""
        if not len(self.online):
            return 0
        return max(0, self.config.updates_due(self.counters.env_steps) - self.counters.updates)

    def update(self) -> None:
        """One critic update, and every ``actor_delay`` of them one actor update."""
        config = self.config
        batch = self._look(self._augment(self._sample()))
        target = td_target(config, batch, self.target_critic, self.target_actor, self.generator)
        loss, value = critic_loss(config, batch, target, self.critic, self.actor)
        self._descend(self.critic_optimiser, loss)
        polyak(self.target_critic, self.critic, config.tau)
        self.counters.updates += 1
        self.metrics |= {'critic_loss': loss.item(), 'q_mean': value.item()}
        late = self.counters.updates - config.critic_warmup
        if late > 0 and self.counters.updates % config.actor_delay == 0:
            batch = replace(batch, state=batch.state.detach())
            loss = actor_loss(config, batch, self.critic, self.actor)
            self._descend(self.actor_optimiser, loss)
            polyak(self.target_actor.net, self.actor.net, config.tau)
            polyak(self.acting.net, self.actor.net, max(config.averaging, min(1.0, config.actor_delay / late)))
            self.metrics['actor_loss'] = loss.item()

    @property
    def reading_again(self) -> bool:
        """Resumed, and the log is not read again yet up to where the checkpoint was."""
        return self.counters.sequence < self.resumed_from.sequence

    @property
    def exploration(self) -> Exploration:
        """Exploration for the next episodes: its noise falls linearly with them.

        That of the checkpoint until the log, which a resumed learner reads again, has come as far.
        """
        config, steps = self.config, self.counters.env_steps
        if self.reading_again:
            return self.resumed_from.exploration
        hold = config.explore_hold or self.actor.config.phase_steps
        if config.warmup_noise and steps < config.min_steps:
            return Exploration(std=config.warmup_noise, hold=hold, uniform=True)
        done = min(1.0, self.counters.episodes / config.explore_episodes)
        std = config.explore_std + (config.explore_std_end - config.explore_std) * done
        limit = min(1.0, steps / config.ramp_steps) if config.ramp_steps else 1.0
        return Exploration(std=std, hold=hold, limit=limit, base_share=self.trust.base_share)

    def gate(self, state: Float, base_action: Float, latent: Float) -> bool:
        """Whether Q of the correction (k,) is surely above Q of none, by all heads (``q_gate``) once they learn."""
        if not self.counters.updates:
            return False
        s, base, correction = (torch.from_numpy(part)[None].to(self.device) for part in (state, base_action, latent))
        with torch.inference_mode():
            none = told(self.config, self.actor, base, base, s[:, 0])
            both = torch.cat([correction, none])
            with_it, without = self.critic(self.actor.encode(s, base).expand(2, -1), both).unbind(-1)
            return bool(surely_better(self.config, with_it - without))

    def weights(self, new_version: bool = True) -> bytes:
        """The actor for the policy as safetensors bytes, by default under a new version number."""
        self.counters.version += int(new_version)
        if self.acting.encoder is not None and self.actor.encoder is not None:
            self.acting.encoder.load_state_dict(self.actor.encoder.state_dict())
        return pack_actor(self.acting, self.exploration, self.counters.version, self.counters.updates)

    def _sample(self) -> Batch:
        offline = round(self.config.batch * self.config.offline_fraction)
        parts = []
        if offline:
            parts.append(self.offline.sample(offline, self.rng))
        if offline < self.config.batch:
            parts.append(self.online.sample(self.config.batch - offline, self.rng))
        return (parts[0] if len(parts) == 1 else concatenate(*parts)).to(self.device)

    def _augment(self, batch: Batch) -> Batch:
        """Blur the state, so that the critic cannot tell episodes apart by where their objects happened to lie."""
        std = self.config.state_noise * self.actor.state_std[: batch.state.shape[1] - 1]
        noise = torch.randn(batch.state.shape, generator=self.generator).to(self.device)
        noise[:, 0] = 0  # the time
        noise[:, 1:] *= std
        return replace(batch, state=batch.state + noise, next_state=batch.next_state + noise)

    def _look(self, batch: Batch) -> Batch:
        """Put behind the state what the trained encoder, if there is one, makes of the shifted images."""
        if self.actor.encoder is None:
            return batch
        now = self.actor.encoder(random_shift(batch.images, self.config.image_shift, self.generator))
        with torch.no_grad():
            then = self.actor.encoder(random_shift(batch.next_images, self.config.image_shift, self.generator))
        return replace(batch, state=torch.cat([batch.state, now], 1), next_state=torch.cat([batch.next_state, then], 1))

    def _descend(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        groups = [group['params'] for group in optimiser.param_groups]
        optimiser.zero_grad(set_to_none=True)
        loss.backward(inputs=sum(groups, []))  # type: ignore[no-untyped-call]  # the actor's loss moves no critic
        for parameters in groups if self.config.grad_clip else ():
            torch.nn.utils.clip_grad_norm_(parameters, self.config.grad_clip)
        optimiser.step()

    def _buffer(self, rows: int) -> ReplayBuffer:
        """A buffer for ``rows`` observations. Raises ConfigError where their images do not fit into memory."""
        config = self.actor.config
        images: tuple[int, ...] = ()
        if self.actor.encoder is not None:
            images = (config.cameras, config.image_size, config.image_size, 3)
            need, free = rows * math.prod(images), available_memory()
            if need > free:
                raise ConfigError(
                    f'the images of {rows} steps take {need / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory are free: '
                    'lower capacity, or set encoder to frozen'
                )
        return ReplayBuffer(config.state_size, config.action_size, rows, images)
