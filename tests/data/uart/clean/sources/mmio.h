/* What a zone touched. Words of faults stand here on purpose. */
struct MMIOAccess {
    unsigned long address;
    unsigned size;
    int is_write;
    unsigned long value;
};

struct PanicInfo {
    const char *file;
    int line;
};

int mmio_handle_access(struct MMIOAccess *access);
void panic_occurred(struct PanicInfo info);
