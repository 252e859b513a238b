/* Makes one write or sync of a file fail, the N-th after it is armed. Loaded with LD_PRELOAD, armed through ctypes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static char part[256];
static volatile int kind, at, number, left; /* kind 1: write, 2: sync */

void fault_arm(int what, const char *path_part, int which, int error) {
    kind = 0;
    strncpy(part, path_part, sizeof part - 1);
    at = which;
    number = error;
    left = 0;
    kind = what;
}

/* How many calls of the kind there have been; the at-th of them has failed. */
int fault_seen(void) { return left; }

static int fails(int what, int descriptor) {
    char link[64], path[4096];
    if (kind != what) return 0;
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, part)) return 0;
    if (__sync_add_and_fetch(&left, 1) != at) return 0;
    errno = number;
    return 1;
}

#define REAL(name, type) static type real; if (!real) real = (type)dlsym(RTLD_NEXT, #name)
typedef ssize_t (*pwrite_t)(int, const void *, size_t, off_t);
typedef ssize_t (*pwrite64_t)(int, const void *, size_t, off64_t);
typedef ssize_t (*write_t)(int, const void *, size_t);
typedef int (*sync_t)(int);

ssize_t pwrite(int d, const void *b, size_t n, off_t o) { REAL(pwrite, pwrite_t); return fails(1, d) ? -1 : real(d, b, n, o); }
ssize_t pwrite64(int d, const void *b, size_t n, off64_t o) { REAL(pwrite64, pwrite64_t); return fails(1, d) ? -1 : real(d, b, n, o); }
ssize_t write(int d, const void *b, size_t n) { REAL(write, write_t); return fails(1, d) ? -1 : real(d, b, n); }
int fsync(int d) { REAL(fsync, sync_t); return fails(2, d) ? -1 : real(d); }
int fdatasync(int d) { REAL(fdatasync, sync_t); return fails(2, d) ? -1 : real(d); }
