"""2D segments: file format, sources, matching across views, refinement."""
