#define _GNU_SOURCE
#include "CPlatform.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// Address space alone: a page of a huge page's alignment and what it aligned to.
static void *reserve(size_t size, size_t alignment, int protection) {
    size_t spare = alignment > (size_t)sysconf(_SC_PAGESIZE) ? alignment : 0;
    char *memory = mmap(NULL, size + spare, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    if (spare == 0) return memory;
    size_t skipped = (alignment - (uintptr_t)memory % alignment) % alignment;
    if (skipped > 0) munmap(memory, skipped);
    if (skipped < spare) munmap(memory + skipped + size, spare - skipped);
    return memory + skipped;
}

static void *advise(void *memory, size_t size, size_t alignment) {
    if (alignment > (size_t)sysconf(_SC_PAGESIZE)) madvise(memory, size, MADV_HUGEPAGE);
    return memory;
}

void *platform_pages_obtain(size_t size, size_t alignment) {
    void *memory = reserve(size, alignment, PROT_READ | PROT_WRITE);
    return memory == NULL ? NULL : advise(memory, size, alignment);
}

void *platform_pages_resize(void *memory, size_t size, size_t new_size, size_t alignment) {
    if (new_size <= size || (uintptr_t)memory % alignment == 0) {
        // In place where it can be.
        void *same = mremap(memory, size, new_size, 0);
        if (same != MAP_FAILED) return advise(same, new_size, alignment);
    }
    // The pages move, not their bytes.
    void *target = reserve(new_size, alignment, PROT_NONE);
    if (target == NULL) return NULL;
    void *moved = mremap(memory, size, new_size, MREMAP_MAYMOVE | MREMAP_FIXED, target);
    if (moved != MAP_FAILED) return advise(moved, new_size, alignment);
    munmap(target, new_size);
    return NULL;
}

void platform_pages_clear(void *memory, size_t from, size_t up_to) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), first = (from + page - 1) / page * page;
    if (from < up_to) memset((char *)memory + from, 0, (first < up_to ? first : up_to) - from);
    if (first < up_to && madvise((char *)memory + first, up_to - first, MADV_DONTNEED) != 0) {
        memset((char *)memory + first, 0, up_to - first);
    }
}

void platform_pages_release(void *memory, size_t size) { munmap(memory, size); }
