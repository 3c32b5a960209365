"""Instance-NeRF: an instance field on a frozen radiance field."""
