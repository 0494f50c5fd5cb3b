#define _GNU_SOURCE
#include "CPlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#ifdef __linux__
#include <malloc.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

int platform_eventfd(void) {
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

void platform_eventfd_signal(int fd) {
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void platform_eventfd_clear(int fd) {
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
}

static void termination_set(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

// Runs in a thread that does not block the signal: one that a library started before us, as OpenBLAS does when it is
// loaded. Blocks it there for good and sends it again, until every thread blocks it and the signalfd gets it.
static void pass_on_to_signalfd(int number, siginfo_t *info, void *context) {
    (void)info;
    int code = errno;
    sigaddset(&((ucontext_t *)context)->uc_sigmask, number);
    kill(getpid(), number);
    errno = code;
}

int platform_termination_signalfd(void) {
    signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    termination_set(&set);
    int failure = pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (failure != 0) return -failure;
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        if (sigismember(&set, number) != 1 || sigaction(number, NULL, &action) != 0) continue;
        // What the parent ignores (nohup, a shell's background job) stays ignored.
        if (action.sa_handler == SIG_IGN) continue;
        memset(&action, 0, sizeof action);
        action.sa_sigaction = pass_on_to_signalfd;
        action.sa_flags = SA_SIGINFO | SA_RESTART;
        sigaction(number, &action, NULL);
    }
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int platform_signalfd_next(int fd) {
    struct signalfd_siginfo info;
    ssize_t count;
    do {
        count = read(fd, &info, sizeof info);
    } while (count < 0 && errno == EINTR);
    return count == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

void platform_name_thread(const char *name) {
    // The main thread's name is the process's: operators look for that in ps and pkill.
    if (getpid() == gettid()) {
        return;
    }
    char cut[16];
    snprintf(cut, sizeof cut, "%s", name);
    pthread_setname_np(pthread_self(), cut);
}

int platform_start_thread(pthread_t *thread, void *(*body)(void *), void *context) {
    // The new thread inherits the mask of its creator: termination signals must only reach the signalfd.
    sigset_t set, before;
    termination_set(&set);
    pthread_sigmask(SIG_BLOCK, &set, &before);
    int failure = pthread_create(thread, NULL, body, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -failure;
}

bool platform_may_run_on(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    return core >= 0 && core < CPU_SETSIZE && sched_getaffinity(0, sizeof set, &set) == 0 && CPU_ISSET(core, &set);
}

int platform_pin_thread(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (core < 0 || core >= CPU_SETSIZE) return -EINVAL;
    CPU_SET(core, &set);
    return -pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}

void platform_condition_init(pthread_cond_t *condition) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

int platform_condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t monotonic_microseconds) {
    struct timespec until = {
        .tv_sec = (time_t)(monotonic_microseconds / 1000000),
        .tv_nsec = (long)(monotonic_microseconds % 1000000) * 1000,
    };
    return pthread_cond_timedwait(condition, mutex, &until) == ETIMEDOUT;
}

uint64_t platform_monotonic_microseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t platform_raise_open_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

void platform_return_free_memory(void) {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void platform_close_files_on_exec(void) {
    // Not in the headers of every C library that has the call; 4 is CLOSE_RANGE_CLOEXEC.
    if (syscall(SYS_close_range, 3u, ~0u, 4u) == 0) return;
    const long limit = sysconf(_SC_OPEN_MAX);
    for (int file = 3; file < limit && file < 65536; file++) fcntl(file, F_SETFD, FD_CLOEXEC);
}

uint64_t platform_resident_bytes(void) {
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    char text[128];
    ssize_t count = read(fd, text, sizeof text - 1);
    close(fd);
    if (count <= 0) return 0;
    text[count] = 0;
    unsigned long long total, resident;
    if (sscanf(text, "%llu %llu", &total, &resident) != 2) return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

int platform_probe_unix_socket(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    struct stat status;
    if (lstat(path, &status) != 0) return errno == ENOENT ? PLATFORM_SOCKET_ABSENT : -errno;
    if (!S_ISSOCK(status.st_mode)) return PLATFORM_SOCKET_NOT_A_SOCKET;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int failure = connect(fd, (struct sockaddr *)&address, sizeof address) == 0 ? 0 : errno;
    close(fd);
    switch (failure) {
    case 0:
    case EAGAIN:  // its queue of connections is full: somebody listens
        return PLATFORM_SOCKET_LIVE;
    case ECONNREFUSED:
        return PLATFORM_SOCKET_STALE;
    case ENOENT:
        return PLATFORM_SOCKET_ABSENT;
    default:
        return -failure;
    }
}

int platform_make_private_folder(const char *path) {
    char *copy = strdup(path);
    if (copy == NULL) return -ENOMEM;
    int failure = 0;
    for (char *end = copy + 1; failure == 0; end++) {
        if (*end != '/' && *end != 0) continue;
        char kept = *end;
        *end = 0;
        if (mkdir(copy, 0700) != 0 && errno != EEXIST && errno != EISDIR) {
            failure = errno;
            struct stat status;
            // A read-only parent that exists answers EROFS or EACCES before EEXIST.
            if (stat(copy, &status) == 0 && S_ISDIR(status.st_mode)) failure = 0;
        }
        if (kept == 0) break;
        *end = kept;
    }
    free(copy);
    struct stat status;
    if (failure == 0 && stat(path, &status) != 0) failure = errno;
    if (failure == 0 && !S_ISDIR(status.st_mode)) failure = ENOTDIR;
    return -failure;
}

ssize_t platform_read_file(const char *path, size_t limit, uint8_t **bytes) {
    *bytes = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    size_t capacity = 4096, count = 0;
    uint8_t *buffer = malloc(capacity);
    int failure = buffer == NULL ? ENOMEM : 0;
    while (failure == 0) {
        if (count == capacity) {
            capacity *= 2;
            uint8_t *larger = realloc(buffer, capacity);
            if (larger == NULL) {
                failure = ENOMEM;
                break;
            }
            buffer = larger;
        }
        ssize_t got = read(fd, buffer + count, capacity - count);
        if (got == 0) break;
        if (got < 0) {
            if (errno != EINTR) failure = errno;
            continue;
        }
        count += (size_t)got;
        if (count > limit) failure = EFBIG;
    }
    close(fd);
    if (failure != 0) {
        free(buffer);
        return -failure;
    }
    *bytes = buffer;
    return (ssize_t)count;
}

int platform_write_new_private_file(const char *path, const uint8_t *bytes, size_t count) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return -errno;
    int failure = 0;
    while (count > 0 && failure == 0) {
        ssize_t put = write(fd, bytes, count);
        if (put < 0) {
            if (errno != EINTR) failure = errno;
            continue;
        }
        bytes += put;
        count -= (size_t)put;
    }
    if (close(fd) != 0 && failure == 0) failure = errno;
    if (failure != 0) unlink(path);
    return -failure;
}

int platform_stat_file(const char *path, int64_t *modified, int64_t *size, uint32_t *mode) {
    struct stat status;
    if (stat(path, &status) != 0) return -errno;
    *modified = (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec;
    *size = status.st_size;
    *mode = status.st_mode;
    return 0;
}
