"""hvisor's zones, as hvisor-tool in root-linux shows them."""
