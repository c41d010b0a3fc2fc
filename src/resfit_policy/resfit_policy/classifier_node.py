"""Judges the running episode by the cameras: success, not yet, or doubtful, once per control step."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rclpy.node import Node
from sensor_msgs.msg import Image

from resfit_msgs.msg import EpisodeState, Reward
from resfit_policy.classifier import load_classifier
from resfit_policy.convert import image_to_rgb, set_stamp, stamp_ns
from resfit_policy.episode_log import Phase
from resfit_policy.health import Health, State
from resfit_policy.judge import Judge, Shots, Verdict, check_image
from resfit_policy.ros import EVENT, LATCHED, SENSOR, declare, param, run_node
from resfit_policy.sampler import NotReady
from resfit_policy.task import ConfigError, load_task


@dataclass(frozen=True)
class Parameters:
    """Parameters of the classifier."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')
    classifier: str = param('', 'file that "resfit reward train" wrote')
    max_age: float = param(0.1, 's, by which the images of two cameras may differ')


class ClassifierNode(Node):
    """Thin shell around ``Classifier``, ``Judge`` and ``Shots``."""

    def __init__(self) -> None:
        super().__init__('classifier_node')
        self.parameters = declare(self, Parameters)
        self.task = load_task(self.parameters.task)
        if not self.parameters.classifier:
            raise ConfigError('parameter classifier is empty: give the file that "resfit reward train" wrote')
        torch.set_num_threads(1)
        self.classifier = load_classifier(Path(self.parameters.classifier))
        self.classifier.check(self.task)
        self.judge = Judge(self.classifier.rule)
        self.shots = Shots(self.task.cameras, self.task.period_ns, round(self.parameters.max_age * 1e9))
        self.episode_id = 0  # of the running episode, 0 for none
        self.why = ''  # there is no verdict now
        self.probability, self.verdict = 0.0, Verdict.DOUBTFUL

        self.health = Health(self, self.state, ('verdict',))
        self.verdicts = self.create_publisher(Reward, 'classifier/verdict', EVENT)
        self.create_subscription(EpisodeState, 'episode', self.on_episode, LATCHED)
        for camera in self.task.cameras:
            self.create_subscription(Image, f'{camera}/image', partial(self.on_image, camera), SENSOR)

    def on_episode(self, message: EpisodeState) -> None:
        """Judge from an episode's first image to its end."""
        running = message.phase == Phase.RUNNING
        if running and message.episode_id != self.episode_id:
            self.judge.begin()
            self.shots.begin(stamp_ns(message.header.stamp))
        self.episode_id, self.why = (message.episode_id if running else 0), ''

    def on_image(self, camera: str, message: Image) -> None:
        """Take one camera's image."""
        self.health.saw(f'{camera}/image')
        try:
            image = image_to_rgb(message, self.task.image_size)
            check_image(image)
        except (ValueError, NotReady) as problem:
            self.why = f'{camera}/image: {problem}'
            return
        self.shots.put(camera, stamp_ns(message.header.stamp), image)
        if self.episode_id:
            self.try_judge()

    def try_judge(self) -> None:
        """Judge where every camera has shown something new."""
        try:
            taken = self.shots.take()
        except NotReady as problem:
            self.why = str(problem)
            return
        if taken is None:
            return
        stamp, images = taken
        begun = time.perf_counter()
        self.probability = float(self.classifier.probabilities(images[None])[0])
        self.health.took('judge', 1e3 * (time.perf_counter() - begun))
        self.verdict, confidence = self.judge.hear(self.probability)
        self.why = ''
        self.health.saw('verdict')
        verdict = Reward(episode_id=self.episode_id, success=self.verdict == Verdict.SUCCESS, confidence=confidence)
        verdict.source = Reward.CLASSIFIER
        set_stamp(verdict.header.stamp, stamp)
        self.verdicts.publish(verdict)

    def state(self) -> State:
        """For ``diagnostics``."""
        values = {'probability': self.probability, 'verdict': self.verdict.value}
        doing = f'judging episode {self.episode_id}' if self.episode_id else 'waiting for an episode'
        return self.why and f'no verdict: {self.why}', doing, values


def main() -> None:
    """Entry point."""
    run_node(ClassifierNode)
