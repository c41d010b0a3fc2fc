"""``resfit bag``: bags as evidence, one verb per module."""

COMMANDS = {
    'inspect': 'what happened in each episode',
    'replay': 'what was seen, through the policy once more: does it do what was recorded, to the bit?',
}
