"""One control step per 50 ms: newest observation in, target and PolicyStep out (design section 2)."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import JointState

from resfit_msgs.msg import EpisodeState, PolicyStep, PolicyWeights
from resfit_policy import convert
from resfit_policy.actor import unpack_actor, unpack_published
from resfit_policy.base_policy import seen_by
from resfit_policy.convert import set_stamp, stamp_ns
from resfit_policy.episode_log import Arm, Flag, Phase
from resfit_policy.guard import Guard, GuardOptions
from resfit_policy.health import Health, State
from resfit_policy.pacing import Pacer
from resfit_policy.remote_base import make_base
from resfit_policy.ros import COMMAND, LATCHED, LOG, SENSOR, autostart, cleaner, declare, param, run_node
from resfit_policy.runtime import PolicyRuntime
from resfit_policy.sampler import NotReady, Sampler, match_joints
from resfit_policy.scene import Scene
from resfit_policy.supervisor import make_supervisor
from resfit_policy.takeover import Takeover
from resfit_policy.task import ConfigError, load_task


@dataclass(frozen=True)
class Parameters:
    """Parameters of the policy."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')
    base: str = param('', 'frozen base: folder, .onnx or .safetensors, lerobot:folder, ros:service, module:factory')
    base_ahead: int = param(0, 'control steps by which a slow base is asked before its next chunk is needed', least=0)
    base_execute: int = param(0, 'actions of a chunk before the next one takes over; 0: as the base says', least=0)
    base_deadline: float = param(2.0, 's after which an answer of a slow or remote base is given up', least=0)
    weights: str = param('', 'file of a residual (actor.safetensors of a checkpoint); without explore it stays')
    seed: int = param(0, 'seed of the exploration noise')
    explore: bool = param(False, 'explore as the learner asks; off for evaluation')
    vision: bool = param(False, 'observe with the cameras of the task')
    pixels: bool = param(False, 'log images for a residual with an encoder of its own, not features of the base')
    authority: float = param(1.0, 'share of the residual in the executed action at start, [0, 1]', 0, 1)
    residual_limit: float = param(0.0, "rad, the most any joint may be corrected; 0: the robot's own limits", least=0)
    ramp: float = param(1.0, 's in which a change of authority takes effect within an episode', least=0)
    teleop_quiet: float = param(0.2, 's without a command after which a takeover holds the robot', least=0)
    collision_check: bool = param(True, "check actions on the robot's collision model, where its YAML names one")
    base_successes: int = param(0, 'of base_episodes: when residual episodes fall below that, authority falls to 0', 0)
    base_episodes: int = param(0, 'episodes in which the base alone was counted; 0: nobody has', least=0)
    learner_silence: float = param(60.0, 's without a heartbeat of the learner, once heard, till authority is 0', 1)
    max_age: float = param(0.1, 's, by which a stream may be older than joint_states; 0: same stamp', least=0)
    autostart: bool = param(False, 'configure and activate without being asked')


class PolicyNode(LifecycleNode):
    """Lifecycle node around ``PolicyRuntime``."""

    def __init__(self) -> None:
        super().__init__('policy_node')
        self.parameters = declare(self, Parameters)
        self.task = load_task(self.parameters.task)
        torch.set_num_threads(1)
        self.active, self.newcomer = False, True  # a newcomer has not heard of any episode yet
        self.episode = EpisodeState()
        self.refused_weights = 0
        self.why = self.problem = ''  # of a step; of the configuration, for autostart
        self.last_target: JointState | None = None
        self.clean = cleaner(self)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the base policy and create the interfaces."""
        parameters = self.parameters
        try:
            self.task = task = seen_by(parameters.base, self.task)
            if parameters.base_episodes and parameters.base_successes > parameters.base_episodes:
                raise ConfigError('base_successes is above base_episodes')
            if task.from_pixels and not parameters.vision:
                raise ConfigError(f'the base {parameters.base} sees images: set vision to true')
            base = make_base(self, parameters, task, self.moment, lambda: self.try_step(time.perf_counter()))
            supervisor = make_supervisor(
                task, parameters.residual_limit or None, parameters.ramp, parameters.collision_check
            )
            given = unpack_actor(Path(parameters.weights).read_bytes()) if parameters.weights else None
            if given and given[0].encoder is not None and not parameters.vision:
                raise ConfigError(f'the weights {parameters.weights} see images: set vision to true')
            pixels = parameters.pixels or (given is not None and given[0].encoder is not None)
            self.runtime = PolicyRuntime(task, base, parameters.seed, supervisor, pixels)
            if given:
                self.runtime.set_weights(*given)
        except (ConfigError, OSError) as error:
            return self.refuse(str(error))
        except Exception as error:  # a base of the user's own may raise anything, and rclpy would not say what
            return self.refuse(f'{type(error).__name__}: {error}', traceback.format_exc())
        self.takeover = Takeover(task.robot.names, parameters.teleop_quiet)
        self.sampler = Sampler(task, round(parameters.max_age * 1e9), parameters.vision)
        self.pacer = Pacer(task.period_ns, task.tick_ns, task.horizon)
        self.health = Health(self, self.state, ('joint_states', 'step', 'clipped', 'held', 'weights'))
        self.target = self.create_publisher(JointState, 'target', COMMAND)
        self.steps = self.create_publisher(PolicyStep, 'policy/step', LOG)
        counted = (parameters.base_successes, parameters.base_episodes) if parameters.base_episodes else None
        learns = parameters.explore or not parameters.weights  # given ones are judged: nobody's learner may touch them
        silence = parameters.learner_silence if learns else None
        self.guard = Guard(self, GuardOptions(parameters.authority, counted, silence), self.on_guard)
        self.on_guard()
        if learns:
            self.create_subscription(PolicyWeights, 'learner/weights', self.on_weights, LATCHED)
        self.scene = Scene(self, task, parameters.vision, self.sampler, self.health, self.try_step)
        self.create_subscription(JointState, 'joint_states', self.on_joints, SENSOR)
        self.create_subscription(JointState, 'teleop', self.on_teleop, COMMAND)
        return TransitionCallbackReturn.SUCCESS

    def refuse(self, problem: str, details: str = '') -> TransitionCallbackReturn:
        """Say why there is no policy."""
        self.problem = problem
        self.get_logger().error(f'{problem}\n{details}'.strip())
        return TransitionCallbackReturn.FAILURE

    def moment(self) -> tuple[int, int]:
        """Episode id, and stamp of the newest joint states [ns]."""
        return self.episode.episode_id, self.sampler.stamp

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Act from the next episode on; being subscribed to the episode says so to the others."""
        self.active, self.newcomer = True, True
        self.on_episode_subscription = self.create_subscription(EpisodeState, 'episode', self.on_episode, LATCHED)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop acting; without targets the streamer holds."""
        self.active = False
        self.pacer.stop()
        self.destroy_subscription(self.on_episode_subscription)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Drop what ``on_configure`` made."""
        self.clean()
        return TransitionCallbackReturn.SUCCESS

    def on_episode(self, message: EpisodeState) -> None:
        """Start or stop acting."""
        newcomer, self.newcomer = self.newcomer, False
        self.episode = message
        self.last_target = None
        self.guard.on_episode(message)
        if message.phase != Phase.RUNNING or self.guard.stopped:
            self.pacer.stop()
            return
        if message.horizon != self.task.horizon or message.task != self.task.name:
            self.get_logger().error(f'episode is for task {message.task}, this policy for {self.task.name}')
            return
        patience = round(self.parameters.max_age * 1e9) if newcomer else None
        self.pacer.start(stamp_ns(message.header.stamp), patience)
        self.runtime.begin(Arm(message.arm), self.parameters.explore, message.episode_id)
        self.try_step(time.perf_counter())

    def on_joints(self, message: JointState) -> None:
        """Take joint states, the metronome of the control loop."""
        started = time.perf_counter()
        self.health.saw('joint_states')
        stamp = stamp_ns(message.header.stamp)
        if stamp == self.sampler.stamp and self.last_target is not None:
            self.target.publish(self.last_target)  # the tick came again: whoever asks lost the target
        try:
            self.sampler.put_joints(stamp, message.name, message.position)
            if len(message.effort):
                efforts = match_joints(self.task.robot.names, message.name, message.effort, finite=False)
                self.runtime.supervisor.feel(self.sampler.joints, efforts)
        except NotReady as problem:
            self.why = f'joint_states: {problem}'
            return
        self.try_step(started)

    def on_teleop(self, message: JointState) -> None:
        """A person's command, or, without joints, the hand back."""
        before = self.takeover.active
        self.takeover.hear(time.monotonic(), message.name, message.position)
        if self.takeover.active != before:
            self.runtime.replan()
            self.get_logger().info('a person has taken over' if self.takeover.active else 'handed back to the policy')

    def try_step(self, started: float) -> None:
        """Act if a step is due and every stream is fresh; otherwise nothing leaves this node."""
        stamp, final = self.sampler.stamp, self.pacer.final
        if not self.active or not self.pacer.due(stamp):
            return
        try:
            observation, ages = self.sampler.sample()
            teleop = self.takeover.wish(time.monotonic(), self.runtime.origin(observation))
            record = self.runtime.step(observation, stamp, final, teleop)
        except (NotReady, ValueError) as problem:
            self.why = str(problem)
            return
        self.why = ''
        self.pacer.done(stamp)
        if not final:
            self.last_target = target = JointState(name=list(self.task.robot.names))
            set_stamp(target.header.stamp, stamp)
            target.position = record.executed_action.astype(np.float64).tolist()
            self.target.publish(target)
        record = replace(record, compute_ms=1e3 * (time.perf_counter() - started))
        self.health.took('compute', record.compute_ms)
        self.health.saw('step')
        for flag, what in ((Flag.CLIPPED, 'clipped'), (Flag.HELD, 'held')):
            if record.flags & flag:
                self.health.saw(what)
        self.guard.helped |= bool(record.flags & Flag.INTERVENTION)
        self.steps.publish(convert.fill_step(PolicyStep(), self.episode.episode_id, record, ages))

    def on_weights(self, message: PolicyWeights) -> None:
        """Take new weights from the next step on; anything doubtful is refused and the old ones stay."""
        try:
            self.runtime.set_weights(*unpack_published(message))
            self.guard.fallback.weights_taken()
            self.health.saw('weights')
        except ConfigError as error:
            self.refused_weights += 1
            self.guard.fallback.weights_refused(str(error))
            self.get_logger().error(f'weights {message.version} refused, {self.runtime.version} stay: {error}')

    def on_guard(self) -> None:
        """Authority has changed, or somebody has stopped the robot: then this episode is over."""
        self.runtime.authority = self.guard.authority
        if self.guard.stopped:
            self.pacer.stop()

    def state(self) -> State:
        """For ``diagnostics``."""
        guard, problem = self.guard, f'no action: {self.why}' if self.why else self.runtime.why
        problem = 'emergency stop' if guard.stopped else problem or guard.reason
        acting = 'the base acts alone' if self.runtime.alone else 'acting'
        doing = 'waiting' if not self.pacer.running else 'teleoperated' if self.takeover.active else acting
        values = {
            'authority': guard.authority,
            'weights_version': self.runtime.version,
            'refused_weights': self.refused_weights,
            **getattr(self.runtime.base, 'status', dict)(),
        }
        return problem, doing, values


def main() -> None:
    """Entry point."""
    run_node(lambda: autostart(PolicyNode()))
