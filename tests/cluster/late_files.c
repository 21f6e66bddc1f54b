/* Preloaded into a process: what other processes write below LATE_FOLDER it sees late, as nodes of NFS and GlusterFS do.
   A new file is not there for LATE_SECONDS. One that has grown keeps its old length at every second look, by chance, for at
   most LATE_SECONDS. A file that this process writes itself is never late. Each late look is a line in LATE_TOLD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FILES 65536
#define HIDDEN -1
#define WHOLE LLONG_MAX

typedef struct {
    ino_t inode;
    int own;
    long long length; /* what is shown */
    double since;     /* when that was the truth */
} Seen;

static Seen table[FILES];
static long long limits[FILES]; /* by descriptor: 1 more than the length that is shown; 0: all of it */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void hold(void) { pthread_mutex_lock(&lock); }
static void release(void) { pthread_mutex_unlock(&lock); }
__attribute__((constructor)) static void fork_safely(void) { pthread_atfork(hold, release, release); }

#define REAL(result, name, ...)                                                                                        \
    static result (*real)(__VA_ARGS__);                                                                                \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double late_seconds(void) {
    const char *text = getenv("LATE_SECONDS");
    return text ? atof(text) : 0;
}

static int below(const char *path) {
    const char *folder = getenv("LATE_FOLDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int coin(void) {
    static __thread unsigned seed;
    if (!seed) seed = (unsigned)(now(CLOCK_REALTIME) * 1e6) ^ (unsigned)getpid();
    return rand_r(&seed) & 1024;
}

static void tell(const char *what, const char *path) {
    const char *log = getenv("LATE_TOLD");
    char line[PATH_MAX + 16];
    int n = snprintf(line, sizeof line, "%s %s\n", what, path);
    int fd = log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    if (fd < 0) return;
    if (syscall(SYS_write, fd, line, n) < 0) perror("late_files");
    syscall(SYS_close, fd);
}

static Seen *of(ino_t inode) {
    for (size_t at = inode % FILES, n = 0; n < FILES; n++, at = (at + 1) % FILES)
        if (!table[at].inode || table[at].inode == inode) return &table[at];
    abort();
}

/* How much of a file this process sees at this look: HIDDEN, a length, or WHOLE. */
static long long look(const char *path) {
    struct statx file;
    if (syscall(SYS_statx, AT_FDCWD, path, 0, STATX_BASIC_STATS | STATX_BTIME, &file) || !S_ISREG(file.stx_mode)) return WHOLE;
    double seconds = late_seconds(), at = now(CLOCK_MONOTONIC);
    double born = file.stx_btime.tv_sec + file.stx_btime.tv_nsec * 1e-9;
    long long shown = WHOLE;
    pthread_mutex_lock(&lock);
    Seen *seen = of(file.stx_ino);
    if (!seen->inode) {
        if ((file.stx_mask & STATX_BTIME) && now(CLOCK_REALTIME) - born < seconds) shown = HIDDEN;
        else *seen = (Seen){file.stx_ino, 0, (long long)file.stx_size, at};
    } else if (!seen->own && (long long)file.stx_size > seen->length) {
        if (at - seen->since < seconds && coin()) shown = seen->length;
        else seen->length = (long long)file.stx_size, seen->since = at;
    } else {
        seen->since = at;
    }
    pthread_mutex_unlock(&lock);
    if (shown != WHOLE) tell(shown == HIDDEN ? "hidden" : "shorter", path);
    return shown;
}

static void own(int fd) {
    struct stat file;
    if (fstat(fd, &file)) return;
    pthread_mutex_lock(&lock);
    Seen *seen = of(file.st_ino);
    seen->inode = file.st_ino;
    seen->own = 1;
    pthread_mutex_unlock(&lock);
}

static int opened(const char *path, int flags, mode_t mode, int at, int (*real)(int, const char *, int, ...)) {
    int reads = (flags & O_ACCMODE) == O_RDONLY && !(flags & (O_CREAT | O_DIRECTORY | O_PATH)), mine = below(path);
    long long shown = mine && reads ? look(path) : WHOLE;
    if (shown == HIDDEN) {
        errno = ENOENT;
        return -1;
    }
    int fd = real(at, path, flags, mode);
    if (fd >= 0 && fd < FILES) limits[fd] = shown == WHOLE ? 0 : shown + 1;
    if (fd >= 0 && mine && !reads && !(flags & (O_DIRECTORY | O_PATH))) own(fd);
    return fd;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = va_arg(rest, mode_t);                                                                            \
        va_end(rest);                                                                                                  \
        REAL(int, openat64, int, const char *, int, ...);                                                              \
        return opened(path, flags, mode, AT_FDCWD, real);                                                              \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                                                   \
    int name(int at, const char *path, int flags, ...) {                                                               \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = va_arg(rest, mode_t);                                                                            \
        va_end(rest);                                                                                                  \
        REAL(int, openat64, int, const char *, int, ...);                                                              \
        return opened(path, flags, mode, at, real);                                                                    \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                                                                    \
    FILE *name(const char *path, const char *mode) {                                                                   \
        REAL(FILE *, name, const char *, const char *);                                                                \
        FILE *file = real(path, mode);                                                                                 \
        if (file && below(path) && strpbrk(mode, "wa+")) own(fileno(file));                                            \
        return file;                                                                                                   \
    }
FOPEN(fopen)
FOPEN(fopen64)

int close(int fd) {
    REAL(int, close, int);
    if (fd >= 0 && fd < FILES) limits[fd] = 0;
    return real(fd);
}

static size_t room(int fd, size_t n, long long at) {
    if (fd < 0 || fd >= FILES || !limits[fd]) return n;
    long long left = limits[fd] - 1 - at;
    return left <= 0 ? 0 : (long long)n < left ? n : (size_t)left;
}

ssize_t read(int fd, void *bytes, size_t n) {
    REAL(ssize_t, read, int, void *, size_t);
    if (fd < 0 || fd >= FILES || !limits[fd]) return real(fd, bytes, n);
    return real(fd, bytes, room(fd, n, syscall(SYS_lseek, fd, 0, SEEK_CUR)));
}

ssize_t pread64(int fd, void *bytes, size_t n, off64_t at) {
    REAL(ssize_t, pread64, int, void *, size_t, off64_t);
    return real(fd, bytes, room(fd, n, at), at);
}

#define SEEK(name)                                                                                                     \
    off64_t name(int fd, off64_t to, int from) {                                                                       \
        REAL(off64_t, name, int, off64_t, int);                                                                        \
        if (from == SEEK_END && fd >= 0 && fd < FILES && limits[fd]) return real(fd, limits[fd] - 1 + to, SEEK_SET);   \
        return real(fd, to, from);                                                                                     \
    }
SEEK(lseek)
SEEK(lseek64)

#define FSTAT(name, type)                                                                                              \
    int name(int fd, struct type *told) {                                                                              \
        REAL(int, name, int, struct type *);                                                                           \
        int failed = real(fd, told);                                                                                   \
        if (!failed && fd >= 0 && fd < FILES && limits[fd]) told->st_size = limits[fd] - 1;                            \
        return failed;                                                                                                 \
    }
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)

/* What was asked of a path that is hidden, or shorter than it is. */
#define ASKED(name, type, field, parameters, arguments)                                                                \
    int name parameters {                                                                                              \
        static int(*real) parameters;                                                                                  \
        if (!real) real = (int(*) parameters)dlsym(RTLD_NEXT, #name);                                                  \
        long long shown = below(path) ? look(path) : WHOLE;                                                            \
        if (shown == HIDDEN) {                                                                                         \
            errno = ENOENT;                                                                                            \
            return -1;                                                                                                 \
        }                                                                                                              \
        int failed = real arguments;                                                                                   \
        if (!failed && shown != WHOLE) told->field = shown;                                                            \
        return failed;                                                                                                 \
    }
ASKED(stat, stat, st_size, (const char *path, struct stat *told), (path, told))
ASKED(stat64, stat64, st_size, (const char *path, struct stat64 *told), (path, told))
ASKED(lstat, stat, st_size, (const char *path, struct stat *told), (path, told))
ASKED(lstat64, stat64, st_size, (const char *path, struct stat64 *told), (path, told))
ASKED(fstatat, stat, st_size, (int at, const char *path, struct stat *told, int flags), (at, path, told, flags))
ASKED(fstatat64, stat64, st_size, (int at, const char *path, struct stat64 *told, int flags), (at, path, told, flags))
ASKED(statx, statx, stx_size, (int at, const char *path, int flags, unsigned mask, struct statx *told), (at, path, flags, mask, told))
