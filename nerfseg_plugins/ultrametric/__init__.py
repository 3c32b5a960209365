"""Ultrametric feature fields: a hierarchy of segments, learned from 2D masks (He et al., arXiv 2405.19678)."""
