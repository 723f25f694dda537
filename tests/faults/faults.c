/* What a disk and a clock can do to a program, and its death at a call, put between it and the C library by LD_PRELOAD.
 *
 * FAULTS_FILES    the files whose path begins so are looked after; all others are left alone.
 * FAULTS_JOURNAL  a file that takes each change to them, in order: a header (struct entry), then its bytes.
 * FAULTS_CONTROL  a file of the size of struct control, which a test changes while the program runs.
 *
 * Built by `cc -shared -fPIC`, for Linux on 64 bits.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

struct control {
    int64_t clock_seconds; /* added to the wall clock */
    int32_t sync_error;    /* errno of each sync; 0: none */
    int32_t stalled;       /* not 0: a sync waits */
    uint64_t bad_file;     /* the inode of a file of which a part cannot be read; 0: none */
    uint64_t bad_from;     /* that part: its first byte, */
    uint64_t bad_to;       /* and the one behind its last */
    int32_t read_error;    /* what reading it says */
    int32_t die_after;     /* the program kills itself: right before a call, or, not 0, right after it, */
    int32_t die_port;      /* of sends and receipts: of one to or from this port, */
    int32_t die_left;      /* when so many of these calls are left, the fatal one among them, */
    int32_t die_at;        /* which are of this kind (enum call); 0: of none. Nothing is left of it when it has happened. */
};

enum call { WRITE = 1, SYNC = 2, CUT_OFF = 3, RENAME = 4, UNLINK = 5, SEND = 6, RECEIVE = 7 };
enum moment { BEFORE = 0, AFTER = 1 };

enum kind { OPENED = 1, WRITTEN = 2, CUT = 3, SYNCED = 4, REMOVED = 5 };

/* `file` is the descriptor; OPENED tells its path, CUT the new length in `offset`. REMOVED has a path and no file. */
struct entry {
    uint32_t kind;
    uint32_t file;
    uint64_t offset;
    uint64_t length;
};

#define FILES 1024
static const char *files;
static size_t files_length;
static int journal = -1;
static volatile struct control nothing, *control = &nothing;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static char watched[FILES];
static uint64_t inodes[FILES];

/* Not a constructor's work: other libraries' constructors ask for the time before ours would have run. */
static void begin(void)
{
    static int begun;
    const char *path;
    int file;
    if (__atomic_exchange_n(&begun, 1, __ATOMIC_SEQ_CST))
        return;
    if ((path = getenv("FAULTS_CONTROL")) && (file = syscall(SYS_openat, AT_FDCWD, path, O_RDWR)) >= 0) {
        void *page = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (page != MAP_FAILED)
            control = page;
        syscall(SYS_close, file);
    }
    if ((path = getenv("FAULTS_JOURNAL")))
        journal = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if ((path = getenv("FAULTS_FILES"))) {
        files_length = strlen(path);
        files = path;
    }
}

/* Called right before and right after each call of this kind on files that are looked after, and each send; right after each receipt. */
static void perhaps_die(enum call call, enum moment moment)
{
    if (control->die_at != (int32_t)call || control->die_after != (int32_t)moment ||
        __atomic_sub_fetch(&control->die_left, 1, __ATOMIC_SEQ_CST))
        return;
    control->die_at = 0;
    for (;;)
        syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

static int is_watched(int file)
{
    return file >= 0 && file < FILES && watched[file];
}

static void note(enum kind kind, int file, uint64_t offset, const void *bytes, size_t length)
{
    struct entry entry = {kind, (uint32_t)file, offset, length};
    if (journal < 0)
        return;
    if (syscall(SYS_write, journal, &entry, sizeof entry) != sizeof entry ||
        (bytes && syscall(SYS_write, journal, bytes, length) != (long)length))
        abort();
}

static int opened(const char *path, int file)
{
    begin();
    if (file >= 0 && file < FILES) {
        watched[file] = files && !strncmp(path, files, files_length);
        if (watched[file]) {
            struct stat status;
            inodes[file] = fstat(file, &status) ? 0 : status.st_ino;
            pthread_mutex_lock(&order);
            note(OPENED, file, 0, path, strlen(path));
            pthread_mutex_unlock(&order);
        }
    }
    return file;
}

#define OPEN(name)                                                                      \
    int name(const char *path, int flags, ...)                                          \
    {                                                                                   \
        va_list rest;                                                                   \
        va_start(rest, flags);                                                          \
        int mode = va_arg(rest, int);                                                   \
        va_end(rest);                                                                   \
        return opened(path, (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode));     \
    }
OPEN(open)
OPEN(open64)

int close(int file)
{
    if (is_watched(file))
        watched[file] = 0;
    return (int)syscall(SYS_close, file);
}

/* A bad sector is one of the disk's: it stays with the file when that is renamed. */
static ssize_t get(int file, void *bytes, size_t length, off_t offset)
{
    if (is_watched(file) && control->bad_file && control->bad_file == inodes[file] &&
        (uint64_t)offset < control->bad_to && (uint64_t)offset + length > control->bad_from) {
        errno = control->read_error;
        return -1;
    }
    return syscall(SYS_pread64, file, bytes, length, offset);
}

ssize_t pread(int file, void *bytes, size_t length, off_t at) { return get(file, bytes, length, at); }
ssize_t pread64(int file, void *bytes, size_t length, off_t at) { return get(file, bytes, length, at); }

static void perhaps_die_at_port(enum call call, int file, enum moment moment)
{
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    if (control->die_at == (int32_t)call && !syscall(SYS_getpeername, file, &peer, &length) && peer.sin_family == AF_INET &&
        ntohs(peer.sin_port) == control->die_port)
        perhaps_die(call, moment);
}

#define SENDING(file, call)                      \
    do {                                         \
        perhaps_die_at_port(SEND, file, BEFORE); \
        ssize_t sent = call;                     \
        perhaps_die_at_port(SEND, file, AFTER);  \
        return sent;                             \
    } while (0)

ssize_t send(int file, const void *bytes, size_t length, int flags)
{
    SENDING(file, syscall(SYS_sendto, file, bytes, length, flags, NULL, 0));
}

ssize_t sendmsg(int file, const struct msghdr *message, int flags)
{
    SENDING(file, syscall(SYS_sendmsg, file, message, flags));
}

ssize_t writev(int file, const struct iovec *parts, int number)
{
    SENDING(file, syscall(SYS_writev, file, parts, number));
}

/* What came is the kernel's no more, and nobody has seen it. */
static ssize_t received(int file, ssize_t length)
{
    if (length > 0)
        perhaps_die_at_port(RECEIVE, file, AFTER);
    return length;
}

ssize_t recv(int file, void *bytes, size_t length, int flags)
{
    return received(file, syscall(SYS_recvfrom, file, bytes, length, flags, NULL, NULL));
}

ssize_t recvmsg(int file, struct msghdr *message, int flags)
{
    return received(file, syscall(SYS_recvmsg, file, message, flags));
}

static ssize_t put(int file, const void *bytes, size_t length, off_t offset, int seeks)
{
    if (!is_watched(file) && seeks)
        SENDING(file, syscall(SYS_write, file, bytes, length));
    if (!is_watched(file))
        return syscall(SYS_pwrite64, file, bytes, length, offset);
    perhaps_die(WRITE, BEFORE);
    pthread_mutex_lock(&order);
    if (seeks)
        offset = syscall(SYS_lseek, file, 0, SEEK_CUR);
    ssize_t written = seeks ? syscall(SYS_write, file, bytes, length)
                            : syscall(SYS_pwrite64, file, bytes, length, offset);
    if (written > 0)
        note(WRITTEN, file, (uint64_t)offset, bytes, (size_t)written);
    pthread_mutex_unlock(&order);
    perhaps_die(WRITE, AFTER);
    return written;
}

ssize_t write(int file, const void *bytes, size_t length) { return put(file, bytes, length, 0, 1); }
ssize_t pwrite(int file, const void *bytes, size_t length, off_t at) { return put(file, bytes, length, at, 0); }
ssize_t pwrite64(int file, const void *bytes, size_t length, off_t at) { return put(file, bytes, length, at, 0); }

static int cut(int file, off_t length)
{
    if (!is_watched(file))
        return (int)syscall(SYS_ftruncate, file, length);
    perhaps_die(CUT_OFF, BEFORE);
    pthread_mutex_lock(&order);
    int result = (int)syscall(SYS_ftruncate, file, length);
    if (!result)
        note(CUT, file, (uint64_t)length, NULL, 0);
    pthread_mutex_unlock(&order);
    perhaps_die(CUT_OFF, AFTER);
    return result;
}

int ftruncate(int file, off_t length) { return cut(file, length); }
int ftruncate64(int file, off_t length) { return cut(file, length); }

static int synced(int file, long call)
{
    if (!is_watched(file))
        return (int)syscall(call, file);
    while (control->stalled)
        syscall(SYS_nanosleep, &(struct timespec){0, 1000000}, NULL);
    if (control->sync_error) {
        errno = control->sync_error;
        return -1;
    }
    perhaps_die(SYNC, BEFORE);
    pthread_mutex_lock(&order);
    int result = (int)syscall(call, file);
    if (!result)
        note(SYNCED, file, 0, NULL, 0);
    pthread_mutex_unlock(&order);
    perhaps_die(SYNC, AFTER);
    return result;
}

int fsync(int file) { return synced(file, SYS_fsync); }
int fdatasync(int file) { return synced(file, SYS_fdatasync); }

static int is_of_files(const char *path)
{
    begin();
    return files && !strncmp(path, files, files_length);
}

int unlink(const char *path)
{
    int counts = is_of_files(path);
    if (counts)
        perhaps_die(UNLINK, BEFORE);
    pthread_mutex_lock(&order);
    int result = (int)syscall(SYS_unlink, path);
    if (!result && counts)
        note(REMOVED, -1, 0, path, strlen(path));
    pthread_mutex_unlock(&order);
    if (counts)
        perhaps_die(UNLINK, AFTER);
    return result;
}

int rename(const char *from, const char *to)
{
    int counts = is_of_files(from) || is_of_files(to);
    if (counts)
        perhaps_die(RENAME, BEFORE);
    int result = (int)syscall(SYS_rename, from, to);
    if (counts)
        perhaps_die(RENAME, AFTER);
    return result;
}

/* The C library's own reads the clock without a system call. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*next)(clockid_t, struct timespec *);
    begin();
    if (!next)
        next = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += control->clock_seconds;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &precise))
        return -1;
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *to)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to)
        *to = now.tv_sec;
    return now.tv_sec;
}

/* The kernel would let a wait until some time of day end earlier or later when the clock is set; here it is waited in slices. */
#define SLICE 10000000 /* nanoseconds */

/* The time of day, as the kernel has it, until which a slice of the wait until `deadline` lasts; whether it is the last one. */
static int slice(const struct timespec *deadline, struct timespec *until)
{
    struct timespec now;
    long long left;
    clock_gettime(CLOCK_REALTIME, &now);
    left = (deadline->tv_sec - now.tv_sec) * 1000000000LL + deadline->tv_nsec - now.tv_nsec;
    now.tv_sec -= control->clock_seconds;
    now.tv_nsec += left < 0 ? 0 : left < SLICE ? left : SLICE;
    now.tv_sec += now.tv_nsec / 1000000000;
    now.tv_nsec %= 1000000000;
    *until = now;
    return left <= SLICE;
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *deadline)
{
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    struct timespec until;
    int last, result;
    if (!next)
        next = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    if (deadline->tv_sec < 1000000000) /* on the monotonic clock */
        return next(condition, mutex, deadline);
    do {
        last = slice(deadline, &until);
        result = next(condition, mutex, &until);
    } while (result == ETIMEDOUT && !last);
    return result;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict deadline)
{
    static int (*next)(cnd_t *, mtx_t *, const struct timespec *);
    struct timespec until;
    int last, result;
    if (!next)
        next = (int (*)(cnd_t *, mtx_t *, const struct timespec *))dlsym(RTLD_NEXT, "cnd_timedwait");
    do {
        last = slice(deadline, &until);
        result = next(condition, mutex, &until);
    } while (result == thrd_timedout && !last);
    return result;
}
