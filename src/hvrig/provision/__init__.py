"""The images before the run: which local files they are, and how they come to the TFTP server."""
