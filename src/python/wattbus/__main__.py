"""``python -m wattbus`` is the command."""

from wattbus.cli import main

if __name__ == "__main__":
    main()
