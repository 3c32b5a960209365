"""Metrics: panoptic quality, IoU, image quality."""
