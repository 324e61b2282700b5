"""Hardware-in-the-loop memory gate for boards that run hvisor."""
