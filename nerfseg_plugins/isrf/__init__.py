"""ISRF: strokes in, a segmented and edited scene out."""
