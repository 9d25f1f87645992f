/* Preloaded: counts a process's file-system steps under some folders, and fails or dies at one.
 *
 * faults_arm(folders, at, code, stays): the folders are separated by colons; step number `at` (from
 * 1; 0: none) fails with the error number `code`, or kills the process where that is 0. With
 * `stays`, so do all later steps that need space, as on a disk that is full.
 * faults_steps(): how many there were.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folders[8192];
static long armed_at, steps;
static int code, stays, armed;

void faults_arm(const char *under, long at, int error, int and_later) {
    snprintf(folders, sizeof folders, "%s", under);
    armed_at = at, code = error, stays = and_later, steps = 0, armed = 1;
}
long faults_steps(void) { return steps; }

static int is_under(const char *path) {
    char copy[8192], *rest, *one;
    snprintf(copy, sizeof copy, "%s", folders);
    for (one = strtok_r(copy, ":", &rest); one; one = strtok_r(NULL, ":", &rest)) {
        size_t length = strlen(one);
        if (!strncmp(path, one, length) && (!path[length] || path[length] == '/')) return 1;
    }
    return 0;
}

/* Whether this step is to fail; `needs_space`: whether a full disk refuses it. */
static int step(int needs_space) {
    long now;
    if (code == ENOSPC && !needs_space) return 0;
    now = ++steps;
    if (!armed_at || now < armed_at || (now > armed_at && !stays)) return 0;
    if (!code) kill(getpid(), SIGKILL);
    errno = code;
    return 1;
}

static int path_fails(int folder, const char *path, int needs_space) {
    char whole[8192], base[4096], link[64];
    int saved = errno;
    if (!armed || !path) return 0;
    if (path[0] != '/') {
        ssize_t length = -1;
        if (folder == AT_FDCWD) {
            if (getcwd(base, sizeof base)) length = strlen(base);
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            length = readlink(link, base, sizeof base - 1);
        }
        if (length < 0) return errno = saved, 0;
        base[length] = 0;
        snprintf(whole, sizeof whole, "%s/%s", base, path);
        path = whole;
    }
    errno = saved;
    return is_under(path) && step(needs_space);
}

static int fd_fails(int fd, int needs_space) {
    char link[64], path[4096];
    ssize_t length;
    int saved = errno;
    if (!armed || fd < 3) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0) return 0;
    path[length] = 0;
    return is_under(path) && step(needs_space);
}

#define REAL(name) static typeof(&name) real; if (!real) real = (typeof(&name))dlsym(RTLD_NEXT, #name)
#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & O_CREAT))
#define MODE(last) mode_t mode = 0; if (last & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, last); mode = va_arg(a, mode_t); va_end(a); }

int open(const char *path, int flags, ...) { MODE(flags) REAL(open);
    return path_fails(AT_FDCWD, path, WRITES(flags)) ? -1 : real(path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) REAL(open64);
    return path_fails(AT_FDCWD, path, WRITES(flags)) ? -1 : real(path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) REAL(openat);
    return path_fails(at, path, WRITES(flags)) ? -1 : real(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) REAL(openat64);
    return path_fails(at, path, WRITES(flags)) ? -1 : real(at, path, flags, mode); }
FILE *fopen(const char *path, const char *how) { REAL(fopen);
    return path_fails(AT_FDCWD, path, how[0] != 'r') ? NULL : real(path, how); }
FILE *fopen64(const char *path, const char *how) { REAL(fopen64);
    return path_fails(AT_FDCWD, path, how[0] != 'r') ? NULL : real(path, how); }
ssize_t read(int fd, void *to, size_t n) { REAL(read); return fd_fails(fd, 0) ? -1 : real(fd, to, n); }
ssize_t pread(int fd, void *to, size_t n, off_t at) { REAL(pread); return fd_fails(fd, 0) ? -1 : real(fd, to, n, at); }
ssize_t pread64(int fd, void *to, size_t n, off64_t at) { REAL(pread64); return fd_fails(fd, 0) ? -1 : real(fd, to, n, at); }
ssize_t write(int fd, const void *of, size_t n) { REAL(write); return fd_fails(fd, 1) ? -1 : real(fd, of, n); }
ssize_t pwrite(int fd, const void *of, size_t n, off_t at) { REAL(pwrite); return fd_fails(fd, 1) ? -1 : real(fd, of, n, at); }
ssize_t pwrite64(int fd, const void *of, size_t n, off64_t at) { REAL(pwrite64); return fd_fails(fd, 1) ? -1 : real(fd, of, n, at); }
ssize_t writev(int fd, const struct iovec *of, int n) { REAL(writev); return fd_fails(fd, 1) ? -1 : real(fd, of, n); }
int ftruncate(int fd, off_t size) { REAL(ftruncate); return fd_fails(fd, 0) ? -1 : real(fd, size); }
int ftruncate64(int fd, off64_t size) { REAL(ftruncate64); return fd_fails(fd, 0) ? -1 : real(fd, size); }
int fsync(int fd) { REAL(fsync); return fd_fails(fd, 1) ? -1 : real(fd); }
int fdatasync(int fd) { REAL(fdatasync); return fd_fails(fd, 1) ? -1 : real(fd); }
int mkdir(const char *path, mode_t mode) { REAL(mkdir);
    return path_fails(AT_FDCWD, path, 1) ? -1 : real(path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { REAL(mkdirat);
    return path_fails(at, path, 1) ? -1 : real(at, path, mode); }
int rename(const char *from, const char *to) { REAL(rename);
    return path_fails(AT_FDCWD, to, 1) ? -1 : real(from, to); }
int renameat(int a, const char *from, int b, const char *to) { REAL(renameat);
    return path_fails(b, to, 1) ? -1 : real(a, from, b, to); }
int renameat2(int a, const char *from, int b, const char *to, unsigned how) { REAL(renameat2);
    return path_fails(b, to, 1) ? -1 : real(a, from, b, to, how); }
int unlink(const char *path) { REAL(unlink); return path_fails(AT_FDCWD, path, 0) ? -1 : real(path); }
int unlinkat(int at, const char *path, int how) { REAL(unlinkat);
    return path_fails(at, path, 0) ? -1 : real(at, path, how); }
int rmdir(const char *path) { REAL(rmdir); return path_fails(AT_FDCWD, path, 0) ? -1 : real(path); }
int chmod(const char *path, mode_t mode) { REAL(chmod);
    return path_fails(AT_FDCWD, path, 0) ? -1 : real(path, mode); }
