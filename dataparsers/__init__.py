"""Dataset layouts, one file each. Nothing here may import a nerfstudio datamanager (circular import)."""
