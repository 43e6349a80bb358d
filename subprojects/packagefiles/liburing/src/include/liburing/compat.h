/*
 * What liburing's configure script would generate, decided by the preprocessor instead: types that
 * liburing.h uses and that the headers of older kernels do not have.
 */
#ifndef LIBURING_COMPAT_H
#define LIBURING_COMPAT_H

#include <linux/futex.h>
#include <linux/ioctl.h>
#include <linux/time_types.h> /* Linux 5.1 */
#include <stdint.h>

#if __has_include(<linux/blkdev.h>)
#include <linux/blkdev.h> /* Linux 6.12 */
#endif

#if __has_include(<linux/openat2.h>)
#include <linux/openat2.h> /* Linux 5.6 */
#else
struct open_how {
    uint64_t flags;
    uint64_t mode;
    uint64_t resolve;
};
#endif

#ifndef FUTEX_WAITV_MAX /* Linux 5.16 */
#define FUTEX_WAITV_MAX 128
#define FUTEX_32 2
struct futex_waitv {
    uint64_t val;
    uint64_t uaddr;
    uint32_t flags;
    uint32_t __reserved;
};
#endif

#ifndef BLOCK_URING_CMD_DISCARD
#define BLOCK_URING_CMD_DISCARD _IO(0x12, 0)
#endif

#endif
