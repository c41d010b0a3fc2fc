"""The verbs of the ``resfit`` command."""
