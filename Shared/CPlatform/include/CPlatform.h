#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// What Swift cannot import: GNU extensions, variadic calls, and types that only exist as macros.
// Functions that can fail return 0 (or a descriptor) and on failure the negative errno.

/// A non-blocking, close-on-exec eventfd, or -errno.
int platform_eventfd(void);
/// Makes the eventfd readable.
void platform_eventfd_signal(int fd);
/// Makes the eventfd unreadable again.
void platform_eventfd_clear(int fd);

/// Blocks SIGTERM and SIGINT for this thread and those it starts, ignores SIGPIPE; a signalfd, or -errno.
int platform_termination_signalfd(void);
/// The next pending signal of a signalfd, or 0.
int platform_signalfd_next(int fd);

/// Names the calling thread, unless it is the main one; longer names are cut at 15 bytes.
void platform_name_thread(const char *name);
/// Starts a joinable thread that runs `body(context)` with SIGTERM and SIGINT blocked, or -errno.
int platform_start_thread(pthread_t *thread, void *(*body)(void *), void *context);

/// Whether this process may run on a core.
bool platform_may_run_on(int core);
/// Keeps the calling thread on a core; 0 or -errno.
int platform_pin_thread(int core);

/// A condition variable that measures time on the monotonic clock.
void platform_condition_init(pthread_cond_t *condition);
/// Waits until signalled or until the monotonic time; 0 when signalled, 1 when the time came.
int platform_condition_wait_until(pthread_cond_t *condition, pthread_mutex_t *mutex, uint64_t monotonic_microseconds);

/// Microseconds on the monotonic clock.
uint64_t platform_monotonic_microseconds(void);
/// Raises the soft limit of open files to the hard limit; the limit now in force.
uint64_t platform_raise_open_file_limit(void);
/// Keeps every open file but the standard three from programs that this process starts.
void platform_close_files_on_exec(void);
/// Resident bytes of this process, 0 when unknown.
uint64_t platform_resident_bytes(void);

/// Zeroed pages at a multiple of the alignment, a power of two of at least a page; huge pages where it is larger. NULL
/// where there are none.
void *platform_pages_obtain(size_t size, size_t alignment);
/// Makes pages more, zeroed, or fewer; they may move, their bytes do not. Both sizes are whole pages. NULL where there
/// are none: the old ones stay.
void *platform_pages_resize(void *memory, size_t size, size_t new_size, size_t alignment);
/// Makes bytes of pages zero; whole pages cost nothing until they are written again. The end is that of a page.
void platform_pages_clear(void *memory, size_t from, size_t up_to);
/// Gives pages back.
void platform_pages_release(void *memory, size_t size);

/// Gives freed memory back to the system, where the C library can.
void platform_return_free_memory(void);

/// What stands at a unix socket path.
enum platform_socket_state {
    PLATFORM_SOCKET_ABSENT = 0,
    PLATFORM_SOCKET_STALE = 1,
    PLATFORM_SOCKET_LIVE = 2,
    PLATFORM_SOCKET_NOT_A_SOCKET = 3,
};
/// One of `platform_socket_state`, or -errno. Connects and hangs up at once when somebody listens.
int platform_probe_unix_socket(const char *path);

/// Makes the folder and its missing parents with mode 0700; 0 or -errno.
int platform_make_private_folder(const char *path);

/// Reads a whole file of at most `limit` bytes into malloc'ed memory; its size, or -errno (-EFBIG when larger).
ssize_t platform_read_file(const char *path, size_t limit, uint8_t **bytes);
/// Creates a file of mode 0600 that must not exist yet; 0 or -errno.
int platform_write_new_private_file(const char *path, const uint8_t *bytes, size_t count);
/// Modification time in nanoseconds, size and permission bits; 0 or -errno.
int platform_stat_file(const char *path, int64_t *modified, int64_t *size, uint32_t *mode);
