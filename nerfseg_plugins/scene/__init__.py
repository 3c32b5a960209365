"""The trained scene that every technique stands on."""
