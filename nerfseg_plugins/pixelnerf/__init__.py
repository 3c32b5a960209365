"""pixelNeRF (Yu et al. 2021): a radiance field predicted from one or a few images."""
