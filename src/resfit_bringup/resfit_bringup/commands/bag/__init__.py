"""``resfit bag``: bags as evidence, one verb per module."""

COMMANDS = {
    'inspect': 'what happened in each episode',
    'play': 'a log through rclpy, to a node that evaluates or shows it',
    'report': 'a session in one HTML file: intervals, curves, films of failures, every label',
    'replay': 'what was seen, through the policy once more: does it do what was recorded, to the bit?',
}
