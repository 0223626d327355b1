/* A library to preload: counts the calls by which a process changes files below a folder, lets one of them fail,
   kills the process there, or notes all of them in a log, from which a power loss is played (`powerloss.py`). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, FAIL, FAIL_ON, KILL, TEAR };
static char root[PATH_MAX];
static int mode, code, log_fd = -1;
static long nth, count;

/* Begin: `mode` happens at the nth call below `folder`; FAIL_ON also fails all calls after it. */
void fault_arm(const char *folder, int how, long at, int error, const char *log) {
    snprintf(root, sizeof root, "%s", folder);
    mode = how, nth = at, code = error, count = 0;
    log_fd = *log ? syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
}

long fault_count(void) { return count; }

static int is_below(const char *path) {
    size_t n = strlen(root);
    return n && !strncmp(path, root, n) && (path[n] == '/' || !path[n]);
}

static int has_path(int fd, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = root[0] ? readlink(link, path, PATH_MAX - 1) : -1;
    path[n > 0 ? n : 0] = 0;
    return n > 0 && is_below(path);
}

static const char *absolute(const char *path, char *buffer) {
    char here[PATH_MAX];
    if (path[0] == '/' || !getcwd(here, sizeof here)) return path;
    snprintf(buffer, PATH_MAX, "%s/%s", here, path);
    return buffer;
}

/* One entry of the log: kind, inode, offset, two texts with their lengths. */
static void note(char kind, unsigned long inode, long offset, const void *a, size_t n_a, const void *b, size_t n_b) {
    if (log_fd < 0) return;
    struct { unsigned long kind, inode; long offset; unsigned long n_a, n_b; } head = {kind, inode, offset, n_a, n_b};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)a, n_a}, {(void *)b, n_b}};
    syscall(SYS_writev, log_fd, parts, 3);
}

void fault_mark(long value) { note('M', value, 0, "", 0, "", 0); }

static unsigned long inode_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_ino;
}

/* Counts a call; -1 with errno if it is to fail. A torn write has put half of its bytes down before the kill. */
static int step(int fd, const void *bytes, size_t n) {
    count++;
    if (!mode || (mode == FAIL_ON ? count < nth : count != nth)) return 0;
    if (mode == TEAR && bytes && n > 1) syscall(SYS_write, fd, bytes, n / 2);
    if (mode == KILL || mode == TEAR) kill(getpid(), SIGKILL);
    errno = code;
    return -1;
}


ssize_t write(int fd, const void *bytes, size_t n) {
    char path[PATH_MAX];
    if (!has_path(fd, path)) return syscall(SYS_write, fd, bytes, n);
    if (step(fd, bytes, n)) return -1;
    ssize_t done = syscall(SYS_write, fd, bytes, n);
    if (done > 0) note('W', inode_of(fd), lseek(fd, 0, SEEK_CUR) - done, bytes, done, "", 0);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t offset) {
    char path[PATH_MAX];
    if (!has_path(fd, path)) return syscall(SYS_pwrite64, fd, bytes, n, offset);
    if (step(fd, NULL, 0)) return -1;
    ssize_t done = syscall(SYS_pwrite64, fd, bytes, n, offset);
    if (done > 0) note('W', inode_of(fd), offset, bytes, done, "", 0);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset) { return pwrite64(fd, bytes, n, offset); }

ssize_t writev(int fd, const struct iovec *parts, int n_parts) {
    char path[PATH_MAX];
    if (!has_path(fd, path)) return syscall(SYS_writev, fd, parts, n_parts);
    return write(fd, parts[0].iov_base, parts[0].iov_len); /* a short write is allowed */
}

static int synced(int fd, long number) {
    char path[PATH_MAX];
    if (!has_path(fd, path)) return syscall(number, fd);
    if (step(fd, NULL, 0)) return -1;
    int found = syscall(number, fd);
    if (!found) note('S', inode_of(fd), 0, path, strlen(path), "", 0);
    return found;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

int ftruncate64(int fd, off_t size) {
    char path[PATH_MAX];
    if (!has_path(fd, path)) return syscall(SYS_ftruncate, fd, size);
    if (step(fd, NULL, 0)) return -1;
    int found = syscall(SYS_ftruncate, fd, size);
    if (!found) note('T', inode_of(fd), size, "", 0, "", 0);
    return found;
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

static int opened(int folder, const char *path, int flags, mode_t bits) {
    char buffer[PATH_MAX];
    const char *full = absolute(path, buffer);
    if (!(flags & (O_CREAT | O_TRUNC)) || !root[0] || !is_below(full)) return syscall(SYS_openat, folder, path, flags, bits);
    if (step(-1, NULL, 0)) return -1;
    int fd = syscall(SYS_openat, folder, path, flags, bits);
    if (fd >= 0) note(flags & O_TRUNC ? 'N' : 'O', inode_of(fd), 0, full, strlen(full), "", 0);
    return fd;
}

#define OPEN(name, folder, ...)                                                                                        \
    int name(__VA_ARGS__, int flags, ...) {                                                                            \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t bits = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                                      \
        va_end(rest);                                                                                                  \
        return opened(folder, path, flags, bits);                                                                      \
    }
OPEN(open, AT_FDCWD, const char *path)
OPEN(open64, AT_FDCWD, const char *path)
OPEN(openat, folder, int folder, const char *path)
OPEN(openat64, folder, int folder, const char *path)

int rename(const char *old, const char *new) {
    char a[PATH_MAX], b[PATH_MAX];
    const char *from = absolute(old, a), *to = absolute(new, b);
    if (!root[0] || !is_below(to)) return syscall(SYS_rename, old, new);
    if (step(-1, NULL, 0)) return -1;
    int found = syscall(SYS_rename, old, new);
    if (!found) note('R', 0, 0, from, strlen(from), to, strlen(to));
    return found;
}

static int named(char kind, long number, const char *path, mode_t bits) {
    char buffer[PATH_MAX];
    const char *full = absolute(path, buffer);
    if (root[0] && is_below(full) && step(-1, NULL, 0)) return -1;
    int found = syscall(number, path, bits);
    if (!found && root[0] && is_below(full)) note(kind, 0, 0, full, strlen(full), "", 0);
    return found;
}

int unlink(const char *path) { return named('U', SYS_unlink, path, 0); }
int rmdir(const char *path) { return named('U', SYS_rmdir, path, 0); }
int mkdir(const char *path, mode_t bits) { return named('D', SYS_mkdir, path, bits); }
