"""Attending: a study goes in; a checked draft report comes out in which every sentence cites its evidence."""

__version__ = "0.1.0"
