"""nerfstudio methods that find things in radiance fields.

Import-free, since nerfstudio loads plugins while it imports itself.
"""

__version__ = "0.1.0"
