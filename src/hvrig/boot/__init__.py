"""From power-on to root-linux's shell: the dialogue with U-Boot, and the wait for the hypervisor and its guest."""
