"""``python -m attending.pretraining SUBCOMMAND``: each subcommand is a module of this room with HELP and add_to."""

from __future__ import annotations

import argparse
import logging
import sys
from importlib import import_module
from importlib.util import find_spec

SUBCOMMANDS = ("tissue", "prompted", "prompted_export", "prompted_check")


def main(arguments: list[str] | None = None) -> int:
    """Parse, train, and give the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    parser = argparse.ArgumentParser(prog="python -m attending.pretraining", description=__doc__)
    several = parser.add_subparsers(dest="subcommand", required=True)
    for name in SUBCOMMANDS:
        if find_spec(f"{__package__}.{name}") is None:
            continue
        module = import_module(f"{__package__}.{name}")
        module.add_to(several.add_parser(name, help=module.HELP, description=module.__doc__))
    args = parser.parse_args(arguments)
    return int(args.run(args))


if __name__ == "__main__":
    sys.exit(main())
