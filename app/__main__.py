"""``python -m app``."""

from app.server import signals

if __name__ == "__main__":
    signals.end_at_once_until_serving()

    from app.server.start import main  # loads for some tenths of a second, in which a signal may come

    main()
