"""``python -m app``: the start, with its modules loaded in one go."""

import gc

# What a module makes is there to stay. Looking through all of it for garbage, again and again, while the next modules
# load takes a seventh of the start (docs/performance.md).
gc.disable()

from app.start import main  # noqa: E402 - the collector must rest before anything is loaded

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
