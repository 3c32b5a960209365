"""GNT (Varma et al. 2023) and GSN (Gupta et al. 2024): views and features of scenes never trained on."""
