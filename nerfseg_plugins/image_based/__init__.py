"""Scenes seen through a few source views: many of them in training, any of them afterwards."""
