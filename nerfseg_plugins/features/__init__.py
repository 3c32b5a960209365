"""2D features of images: sources, PCA, and maps on disk."""
