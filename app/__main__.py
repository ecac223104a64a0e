"""``python -m app``."""

from app.server.start import main

if __name__ == "__main__":
    main()
