"""The console: the only reader of a board's UART."""
