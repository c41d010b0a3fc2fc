"""ResFiT fine-tuning: policy, streamer, rewards, replay log, learner, and the simulated or real Vega."""

from launch import LaunchDescription
from resfit_bringup.graph import train_graph
from resfit_bringup.launching import describe


def generate_launch_description() -> LaunchDescription:
    """See ``ros2 launch resfit_bringup vega_train.launch.py --show-args``."""
    return describe(
        train_graph,
        {
            'demonstrations': ('', 'folder of recorded demonstrations, as "resfit collect" writes it'),
            'recipe': ('resfit_ros', 'named set of hyper-parameters'),
            'learner_config': ('', 'YAML file of hyper-parameters that differ from the recipe'),
        },
    )
