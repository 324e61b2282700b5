/* The UART, and lines in hvisor's shapes. */
#include <stdarg.h>

#include "standin.h"

/* PL011 of QEMU's virt machine, already set up by U-Boot. */
#define UART_DATA (*(volatile u32 *)0x09000000)
#define UART_FLAGS (*(volatile u32 *)0x09000018)
#define UART_TX_FULL (1u << 5)

/* Held for one print or record: two CPUs' texts do not mix. There is none against the guest, as in hvisor. */
static u8 locked;

static void lock(void)
{
    while (__atomic_test_and_set(&locked, __ATOMIC_ACQUIRE))
        ;
}

static void unlock(void)
{
    __atomic_clear(&locked, __ATOMIC_RELEASE);
}

static void put(char c)
{
    if (c == '\n')
        put('\r');
    while (UART_FLAGS & UART_TX_FULL)
        ;
    UART_DATA = (u8)c;
}

static void put_text(const char *text)
{
    while (*text)
        put(*text++);
}

static void put_number(u64 value, u64 base)
{
    char digits[20];
    int count = 0;
    do
        digits[count++] = "0123456789abcdef"[value % base];
    while (value /= base);
    while (count)
        put(digits[--count]);
}

/* %s text, %d a decimal u64, %x a u64 as 0x and hexadecimal digits. */
static void put_format(const char *format, va_list arguments)
{
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        switch (*++format) {
        case 's':
            put_text(va_arg(arguments, const char *));
            break;
        case 'd':
            put_number(va_arg(arguments, u64), 10);
            break;
        default:
            put_text("0x");
            put_number(va_arg(arguments, u64), 16);
        }
    }
}

void print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    lock();
    put_format(format, arguments);
    unlock();
    va_end(arguments);
}

/* One log line as hvisor's logger colours it: level, CPU, target, message; colours are reset after the newline. */
void record(enum level level, const char *target, const char *format, ...)
{
    static const char *const head[] = {"\033[92mINFO ", "\033[93mWARN ", "\033[91mERROR"};
    static const char *const colour[] = {"\033[32m", "\033[33m", "\033[31m"};
    va_list arguments;
    va_start(arguments, format);
    lock();
    put_text("\033[37m[");
    put_text(head[level]);
    put_text("\033[m \033[37m");
    put_number(this_cpu()->id, 10);
    put_text("\033[m] \033[37m(");
    put_text(target);
    put_text(")\033[m ");
    put_text(colour[level]);
    put_format(format, arguments);
    put_text("\033[m\n\033[m");
    unlock();
    va_end(arguments);
}
