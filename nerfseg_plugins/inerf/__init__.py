"""Pose inversion: the camera of a photo, found in a frozen scene."""
