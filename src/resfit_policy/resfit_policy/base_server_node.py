"""Serves a base policy to policy nodes, by the service PredictChunk: from a process, a machine, a venv of its own.

The smallest server there is, and the example for one around a large model: such a one needs ``on_predict`` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.node import Node

from resfit_msgs.srv import PredictChunk
from resfit_policy.base_policy import load_base, seen_by
from resfit_policy.convert import to_array
from resfit_policy.observation import ChunkBase
from resfit_policy.remote_base import read_request
from resfit_policy.ros import declare, param, run_node
from resfit_policy.task import load_task


@dataclass(frozen=True)
class Parameters:
    """Parameters of the server."""

    task: str = param('woolly_ball', 'task name, or path of a task YAML')
    base: str = param('', 'base policy to serve: folder, file, module:factory or lerobot:folder')
    service: str = param('predict_chunk', 'name of the service')


class BaseServerNode(Node):
    """Thin shell around a base."""

    def __init__(self) -> None:
        super().__init__('base_server_node')
        parameters = declare(self, Parameters)
        self.task = seen_by(parameters.base, load_task(parameters.task))
        self.base = load_base(parameters.base, self.task)
        self.last = (0, 0)  # episode id and step
        self.create_service(PredictChunk, parameters.service, self.on_predict)

    def on_predict(self, request: Any, response: Any) -> Any:
        """Answer with a chunk, or with the reason why there is none."""
        try:
            observation = read_request(request, self.task)
            if request.episode_id != self.last[0] or not self.last[1] <= request.step > 0:
                self.base.reset()
            self.last = (request.episode_id, request.step)
            if isinstance(self.base, ChunkBase):
                chunk, response.execute = self.base.predict(observation), self.base.execute
            else:
                chunk, response.execute = np.asarray(self.base.act(observation), np.float32)[None], 1
        except Exception as error:  # whatever somebody's policy raises: who asks must hear of it
            self.get_logger().error(str(error))
            response.message = f'{type(error).__name__}: {error}'
            return response
        response.success, response.joint_names = True, list(self.task.robot.names)
        response.actions = to_array(np.asarray(chunk, np.float32))
        return response


def main() -> None:
    """Entry point."""
    run_node(BaseServerNode)


if __name__ == '__main__':  # another venv's Python runs it without its script
    main()
