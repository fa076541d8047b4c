"""The simulated world: people with facts and traits, who talk, reply and judge by reading the same prompts as real
models. ``model.py`` is the way in (a ChatModel), ``truth.py`` tells what is true."""
