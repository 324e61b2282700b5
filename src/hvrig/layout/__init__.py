"""The inputs from which a memory map is made: ELF, uImage, device tree, board.rs, place.

Readers take bytes and give values; `hvrig.layout.inputs` is the only module that opens files.
"""
