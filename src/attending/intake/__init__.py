"""Intake: files as they come, turned into identified Studies whose stacks are never stacked wrongly.

``open`` reads DICOM, NIfTI and pictures by their content, ``each`` does so study by study; ``decode``
rebuilds the stacks of a Study from the vault.
What was missing is given and said so; what cannot be read is one Refusal in plain words.
"""

from .opening import Limits, Opened, decode, each, open

__all__ = ["Limits", "Opened", "decode", "each", "open"]
