"""CPU kernels that torch lacks or does slowly."""
