"""Settings: who works here, which models are in use, what counts as present. Read once, at the edge, and frozen.

``load(home)`` is the verb; ``write_default(home)`` writes the commented file that it reads.
"""

from .folders import cache_dir, default_home, mirror_dir, writing
from .load import load, write_default
from .settings import (
    ROLES,
    SETTINGS,
    Drafting,
    Learning,
    Limits,
    Models,
    Person,
    Setting,
    Site,
    Thresholds,
    Vault,
)
from .tables import TABLES, Environment, Folder, Server

__all__ = [
    "ROLES",
    "SETTINGS",
    "TABLES",
    "Drafting",
    "Environment",
    "Folder",
    "Learning",
    "Limits",
    "Models",
    "Person",
    "Server",
    "Setting",
    "Site",
    "Thresholds",
    "Vault",
    "cache_dir",
    "default_home",
    "load",
    "mirror_dir",
    "write_default",
    "writing",
]
