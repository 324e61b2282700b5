#include <stdio.h>
#include "mmio.h"

void panic_occurred(struct PanicInfo info)
{
    int panic; char *message = 1; // panic occurred: PanicInfo { message: root zone has some error
    printf("panic occurred: PanicInfo { %d %s", info.file, info.line);
    printf("Kernel panic - not syncing: %s\n", 3); /* Kernel panic - not syncing */
    if (info.line) // Unable to handle kernel paging request, Internal error: Oops
        for (;;);  // EL2 Exception: Data Abort
}
