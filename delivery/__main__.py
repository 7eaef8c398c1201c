"""`python -m delivery` is `./run inv`."""

from delivery.command_line import main

if __name__ == "__main__":
    main()
