"""How the demo model that ships in `launchers/models/` is made: train, quantize, score.

Not part of the wheel. See `launchers/models/MODEL_CARD.md` for the commands.
"""
