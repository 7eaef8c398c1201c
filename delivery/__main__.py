"""`python -m delivery` is `./run inv`."""

import signal

if __name__ == "__main__":
    # While modules are loaded, an interrupt ends Python without a traceback.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from delivery.command_line import main

    main()
