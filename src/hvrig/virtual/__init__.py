"""The virtual board: its machine, its images, the stand-in hypervisor, and the rack that powers it."""
