"""``resfit bag``: bags as evidence, one verb per module."""

COMMANDS = {
    'inspect': 'what happened in each episode',
    'play': 'a log through rclpy, to a node that evaluates or shows it',
    'report': 'a session in one HTML file: intervals, curves, films of failures, every label',
    'evaluate': 'what would a policy achieve that was not run? Estimates with intervals, and when not to trust them',
    'replay': 'what was seen, through the policy once more: does it do what was recorded, to the bit?',
    'to-lerobot': 'episodes as a LeRobot dataset, format v3.0',
    'from-lerobot': 'a LeRobot dataset, of format v3, as bags',
}
