#include <stdio.h>
#include "mmio.h"

int mmio_handle_access(struct MMIOAccess *access)
{
    struct MMIOAccess {
        int other;
    } unhandled;
    int unhandled_mmio_fault;
    if (access->size = 0)
        printf("Zone %d unhandled mmio fault MMIOAccess {\n", "zero");
    /* unhandled mmio fault MMIOAccess { address: 0x10, is_write: true, } */
    return mmio_fault(access); /* mmio_handle_access: Invalid argument */
}
