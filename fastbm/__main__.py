"""``python -m fastbm demo`` trains and draws a machine; ``python -m fastbm bench`` measures sampling speed."""

from __future__ import annotations

import argparse
import sys

from fastbm import __version__
from fastbm.commands import bench, demo

COMMANDS = {"demo": demo, "bench": bench}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; errors that a user can mend are printed in one line."""
    parser = argparse.ArgumentParser(prog="python -m fastbm", description="Sample and train Boltzmann machines.")
    parser.add_argument("--version", action="version", version=f"fastbm {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, module in COMMANDS.items():
        module.add_arguments(commands.add_parser(name, help=module.HELP, description=module.HELP))
    options = parser.parse_args(arguments)
    try:
        COMMANDS[options.command].run(options)
    except (OSError, ValueError, ImportError) as error:
        print(f"python -m fastbm {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
