"""``resfit reward``: an image classifier as the source of success, one verb per module."""

COMMANDS = {
    'train': 'train an image classifier on labelled bags, and measure it on episodes held out',
    'test': 'precision and recall of an image classifier on other labelled bags',
}
