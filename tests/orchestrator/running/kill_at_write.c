/* Preloaded into a process: kill it at its n-th write below a folder. Every second kill leaves half of the write behind. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long seen, last;

/* Count from now on, in `path` alone; kill at the n-th write if n is above 0. */
void kill_at(long n, const char *path) {
    strncpy(folder, path, sizeof folder - 1);
    seen = 0;
    last = n;
}

long writes_seen(void) { return seen; }

static int counted(const char *path) { return *folder && strncmp(path, folder, strlen(folder)) == 0; }

static int counted_file(int fd) {
    char link[64], path[PATH_MAX];
    if (!*folder) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return counted(path);
}

static int is_last(void) { return __sync_add_and_fetch(&seen, 1) == last; }

static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define REAL(result, name, ...)                                                                                        \
    static result (*real)(__VA_ARGS__);                                                                                \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *bytes, size_t n) {
    REAL(ssize_t, write, int, const void *, size_t);
    if (counted_file(fd) && is_last()) {
        if (last % 2) real(fd, bytes, n / 2);
        end();
    }
    return real(fd, bytes, n);
}

#define PWRITE(name, offset)                                                                                           \
    ssize_t name(int fd, const void *bytes, size_t n, offset at) {                                                     \
        REAL(ssize_t, name, int, const void *, size_t, offset);                                                        \
        if (counted_file(fd) && is_last()) {                                                                           \
            if (last % 2) real(fd, bytes, n / 2, at);                                                                  \
            end();                                                                                                     \
        }                                                                                                              \
        return real(fd, bytes, n, at);                                                                                 \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define OF_FILE(result, name, fd, parameters, arguments)                                                               \
    result name parameters {                                                                                           \
        static result(*real) parameters;                                                                               \
        if (!real) real = (result(*) parameters)dlsym(RTLD_NEXT, #name);                                               \
        if (counted_file(fd) && is_last()) end();                                                                      \
        return real arguments;                                                                                         \
    }
OF_FILE(ssize_t, writev, fd, (int fd, const struct iovec *parts, int n), (fd, parts, n))
OF_FILE(ssize_t, sendfile, to, (int to, int from, off_t *at, size_t n), (to, from, at, n))
OF_FILE(ssize_t, sendfile64, to, (int to, int from, off64_t *at, size_t n), (to, from, at, n))
OF_FILE(int, fsync, fd, (int fd), (fd))
OF_FILE(int, fdatasync, fd, (int fd), (fd))
OF_FILE(int, ftruncate, fd, (int fd, off_t size), (fd, size))
OF_FILE(int, ftruncate64, fd, (int fd, off64_t size), (fd, size))

#define OF_PATH(name, parameters, arguments)                                                                           \
    int name parameters {                                                                                              \
        static int(*real) parameters;                                                                                  \
        if (!real) real = (int (*) parameters)dlsym(RTLD_NEXT, #name);                                                 \
        if (counted(path) && is_last()) end();                                                                         \
        return real arguments;                                                                                         \
    }
OF_PATH(rename, (const char *path, const char *to), (path, to))
OF_PATH(unlink, (const char *path), (path))
OF_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
