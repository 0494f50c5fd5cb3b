#include "graph.h"
#include "internal.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    CHUNK_BITS = 12,
    CHUNK = 1 << CHUNK_BITS,
    CHUNKS_MAX = MRL_GRAPH_NODES_MAX / CHUNK,
    UPPER_CHUNK = 256,
    PAGE = 4096,
    STRIPES = 1024,
    LINKS_MAX = 128,
    // Rows of one list, and one more.
    BATCH = 2 * LINKS_MAX + 1,
    // A repair looks no further than this behind a node's links.
    BEHIND_MAX = 1024,
    // Nodes of layer 1 that a walk on the lowest layer sets out from: one alone may stand in a cluster without a way out.
    SEEDS = 32,
};

typedef _Atomic uint32_t link_word;

typedef struct {
    int64_t id;
    _Atomic uint32_t version;
    float scale;
    uint32_t upper; // its first list in the pool of upper layers
    uint16_t owner;
    uint8_t level;
    _Atomic uint8_t state;
} node_record;

typedef struct {
    uint32_t *items;
    size_t count, capacity;
} number_stack;

struct mrl_graph {
    int path;
    bool is_float, cosine;
    size_t stored_width, width, row_bytes;
    uint32_t links;
    // Tables of chunks; an entry is written once, before any of its nodes is known.
    uint8_t **rows;
    link_word **lowest;
    node_record **nodes;
    link_word **upper;
    _Atomic uint32_t limit, entry;
    _Atomic uint8_t stripes[STRIPES];
    pthread_mutex_t allocation; // guards the next seven
    uint32_t *used;             // nodes by chunk
    bool *is_backed;            // by chunk: it takes memory
    uint32_t upper_limit;
    number_stack free_nodes, free_upper[MRL_GRAPH_LEVEL_MAX + 1];
    pthread_mutex_t entry_lock;
    pthread_mutex_t presence; // guards the next two
    pthread_cond_t left;
    unsigned side;
    size_t present[2];
};

typedef struct {
    uint64_t *items; // ordered key of the score, then the node in the query's order of ties: greater is better
    size_t count, capacity;
} ranking;

struct mrl_walker {
    uint8_t *visited;
    size_t visited_count;
    uint8_t stamp;
    ranking open, best;
};

static void *checked(void *memory) {
    if (memory == NULL) abort();
    return memory;
}

static void push_number(number_stack *stack, uint32_t number) {
    if (stack->count == stack->capacity) {
        stack->capacity = stack->capacity ? stack->capacity * 2 : 64;
        stack->items = checked(realloc(stack->items, stack->capacity * sizeof *stack->items));
    }
    stack->items[stack->count++] = number;
}

// Storage

static size_t row_bytes_of(size_t width, bool is_float) { return ((is_float ? 4 * width : width) + 31) / 32 * 32; }

size_t mrl_graph_node_bytes(size_t width, bool is_float, uint32_t links) {
    // One node in `links` is on a layer above, one in its square on two.
    size_t upper = 4 * links / (links - 1) + 1;
    return row_bytes_of(width, is_float) + sizeof(node_record) + 8 * (size_t)links + upper;
}

mrl_graph *mrl_graph_make(int path, size_t stored_width, size_t width, bool is_float, bool cosine, uint32_t links) {
    mrl_graph *graph = checked(calloc(1, sizeof *graph));
    graph->path = path;
    graph->is_float = is_float;
    graph->cosine = cosine;
    graph->stored_width = stored_width;
    graph->width = width;
    graph->row_bytes = row_bytes_of(width, is_float);
    graph->links = links;
    graph->rows = checked(calloc(CHUNKS_MAX, sizeof *graph->rows));
    graph->lowest = checked(calloc(CHUNKS_MAX, sizeof *graph->lowest));
    graph->nodes = checked(calloc(CHUNKS_MAX, sizeof *graph->nodes));
    graph->upper = checked(calloc(CHUNKS_MAX, sizeof *graph->upper));
    graph->used = checked(calloc(CHUNKS_MAX, sizeof *graph->used));
    graph->is_backed = checked(calloc(CHUNKS_MAX, sizeof *graph->is_backed));
    atomic_init(&graph->entry, MRL_NODE_NONE);
    pthread_mutex_init(&graph->allocation, NULL);
    pthread_mutex_init(&graph->entry_lock, NULL);
    pthread_mutex_init(&graph->presence, NULL);
    pthread_cond_init(&graph->left, NULL);
    return graph;
}

void mrl_graph_free(mrl_graph *graph) {
    for (size_t i = 0; i < CHUNKS_MAX && graph->nodes[i] != NULL; i++) {
        free(graph->rows[i]);
        free(graph->lowest[i]);
        free(graph->nodes[i]);
    }
    for (size_t i = 0; i < CHUNKS_MAX && graph->upper[i] != NULL; i++) free(graph->upper[i]);
    free(graph->rows);
    free(graph->lowest);
    free(graph->nodes);
    free(graph->upper);
    free(graph->used);
    free(graph->is_backed);
    free(graph->free_nodes.items);
    for (int i = 0; i <= MRL_GRAPH_LEVEL_MAX; i++) free(graph->free_upper[i].items);
    pthread_mutex_destroy(&graph->allocation);
    pthread_mutex_destroy(&graph->entry_lock);
    pthread_mutex_destroy(&graph->presence);
    pthread_cond_destroy(&graph->left);
    free(graph);
}

uint32_t mrl_graph_limit(const mrl_graph *graph) {
    return atomic_load_explicit(&((mrl_graph *)graph)->limit, memory_order_acquire);
}

static inline const void *row_of(const mrl_graph *graph, uint32_t node) {
    return graph->rows[node >> CHUNK_BITS] + (node & (CHUNK - 1)) * graph->row_bytes;
}

static inline node_record *record_of(const mrl_graph *graph, uint32_t node) {
    return &graph->nodes[node >> CHUNK_BITS][node & (CHUNK - 1)];
}

static inline uint32_t room_of(const mrl_graph *graph, unsigned layer) { return graph->links << (layer == 0); }

static inline link_word *list_of(const mrl_graph *graph, uint32_t node, unsigned layer) {
    if (layer == 0) {
        return graph->lowest[node >> CHUNK_BITS] + (size_t)(node & (CHUNK - 1)) * 2 * graph->links;
    }
    uint32_t list = record_of(graph, node)->upper + layer - 1;
    return graph->upper[list / UPPER_CHUNK] + (size_t)(list % UPPER_CHUNK) * graph->links;
}

static inline int state_of(const mrl_graph *graph, uint32_t node) {
    return atomic_load_explicit(&record_of(graph, node)->state, memory_order_acquire);
}

static inline bool is_linkable(int state) { return state == MRL_NODE_PENDING || state == MRL_NODE_LIVE; }

// Whole pages, so that they can be given back.
static void *new_pages(size_t bytes) { return checked(aligned_alloc(PAGE, (bytes + PAGE - 1) / PAGE * PAGE)); }

static link_word *new_lists(size_t words) {
    link_word *lists = new_pages(words * sizeof *lists);
    for (size_t i = 0; i < words; i++) atomic_init(&lists[i], MRL_NODE_NONE);
    return lists;
}

static uint32_t claim_upper(mrl_graph *graph, unsigned level) {
    number_stack *stack = &graph->free_upper[level];
    if (stack->count > 0) return stack->items[--stack->count];
    // The lists of one node lie in one chunk.
    if (graph->upper_limit % UPPER_CHUNK + level > UPPER_CHUNK) {
        graph->upper_limit = (graph->upper_limit / UPPER_CHUNK + 1) * UPPER_CHUNK;
    }
    uint32_t first = graph->upper_limit, chunk = first / UPPER_CHUNK;
    graph->upper_limit += level;
    if (graph->upper[chunk] == NULL) graph->upper[chunk] = new_lists((size_t)UPPER_CHUNK * graph->links);
    return first;
}

// Codes or floats as a row holds them, zero to the row's end; returns the scale.
static float pack(const mrl_graph *graph, const float *head, void *row) {
    if (graph->is_float) {
        memset(row, 0, graph->row_bytes);
        memcpy(row, head, graph->width * sizeof(float));
        return 0;
    }
    int8_t codes[graph->stored_width];
    float scale = mrl_quantise(head, graph->stored_width, codes);
    memset(row, 0, graph->row_bytes);
    memcpy(row, codes, graph->width);
    return scale;
}

uint32_t mrl_graph_claim(mrl_graph *graph, int64_t id, uint32_t version, uint16_t owner, uint8_t level,
                         const float *head) {
    pthread_mutex_lock(&graph->allocation);
    uint32_t node = MRL_NODE_NONE, limit = atomic_load_explicit(&graph->limit, memory_order_relaxed);
    bool is_new = graph->free_nodes.count == 0;
    if (!is_new) node = graph->free_nodes.items[--graph->free_nodes.count];
    else if (limit < MRL_GRAPH_NODES_MAX) node = limit;
    if (node != MRL_NODE_NONE && is_new) {
        uint32_t chunk = node >> CHUNK_BITS;
        if (graph->nodes[chunk] == NULL) {
            graph->rows[chunk] = new_pages(CHUNK * graph->row_bytes);
            graph->lowest[chunk] = new_lists((size_t)CHUNK * 2 * graph->links);
            graph->nodes[chunk] = new_pages(CHUNK * sizeof(node_record));
            memset(graph->nodes[chunk], 0, CHUNK * sizeof(node_record));
        }
        atomic_store_explicit(&graph->limit, limit + 1, memory_order_release);
    }
    if (node != MRL_NODE_NONE) {
        graph->used[node >> CHUNK_BITS]++;
        graph->is_backed[node >> CHUNK_BITS] = true;
    }
    uint32_t upper = node != MRL_NODE_NONE && level > 0 ? claim_upper(graph, level) : 0;
    pthread_mutex_unlock(&graph->allocation);
    if (node == MRL_NODE_NONE) return node;
    node_record *record = record_of(graph, node);
    record->id = id;
    record->owner = owner;
    record->level = level;
    record->upper = upper;
    atomic_store_explicit(&record->version, version, memory_order_relaxed);
    record->scale = pack(graph, head, (void *)row_of(graph, node));
    for (unsigned layer = 0; layer <= level; layer++) {
        link_word *list = list_of(graph, node, layer);
        for (uint32_t i = 0; i < room_of(graph, layer); i++) {
            atomic_store_explicit(&list[i], MRL_NODE_NONE, memory_order_relaxed);
        }
    }
    atomic_store_explicit(&record->state, MRL_NODE_PENDING, memory_order_release);
    return node;
}

void mrl_graph_reclaim(mrl_graph *graph, uint32_t node) {
    node_record *record = record_of(graph, node);
    atomic_store_explicit(&record->state, MRL_NODE_FREE, memory_order_release);
    pthread_mutex_lock(&graph->allocation);
    push_number(&graph->free_nodes, node);
    graph->used[node >> CHUNK_BITS]--;
    if (record->level > 0) push_number(&graph->free_upper[record->level], record->upper);
    pthread_mutex_unlock(&graph->allocation);
}

// Zero pages come in their place: all nodes on them are free, and what is claimed is written whole.
void mrl_graph_give_back(mrl_graph *graph) {
    pthread_mutex_lock(&graph->allocation);
    for (size_t chunk = 0; chunk < CHUNKS_MAX && graph->nodes[chunk] != NULL; chunk++) {
        if (graph->used[chunk] > 0 || !graph->is_backed[chunk]) continue;
        madvise(graph->rows[chunk], CHUNK * graph->row_bytes, MADV_DONTNEED);
        madvise(graph->lowest[chunk], CHUNK * 2 * graph->links * sizeof(link_word), MADV_DONTNEED);
        madvise(graph->nodes[chunk], CHUNK * sizeof(node_record), MADV_DONTNEED);
        graph->is_backed[chunk] = false;
    }
    pthread_mutex_unlock(&graph->allocation);
}

size_t mrl_graph_bytes(mrl_graph *graph) {
    size_t per_chunk = CHUNK * (graph->row_bytes + 2 * graph->links * sizeof(link_word) + sizeof(node_record));
    pthread_mutex_lock(&graph->allocation);
    size_t bytes = (size_t)graph->upper_limit * graph->links * sizeof(link_word);
    for (size_t chunk = 0; chunk < CHUNKS_MAX && graph->nodes[chunk] != NULL; chunk++) {
        if (graph->is_backed[chunk]) bytes += per_chunk;
    }
    // What lies beyond the last node has never been written but for its links.
    uint32_t limit = atomic_load_explicit(&graph->limit, memory_order_relaxed), rest = limit % CHUNK;
    if (rest > 0 && graph->is_backed[limit >> CHUNK_BITS]) bytes -= per_chunk / CHUNK * (CHUNK - rest);
    pthread_mutex_unlock(&graph->allocation);
    return bytes;
}

mrl_node mrl_graph_node(const mrl_graph *graph, uint32_t node) {
    const node_record *record = record_of(graph, node);
    mrl_node copy = {.state = (uint8_t)state_of(graph, node)};
    copy.id = record->id;
    copy.version = atomic_load_explicit(&((node_record *)record)->version, memory_order_relaxed);
    copy.owner = record->owner;
    copy.level = record->level;
    return copy;
}

void mrl_graph_set_state(mrl_graph *graph, uint32_t node, int state) {
    atomic_store_explicit(&record_of(graph, node)->state, (uint8_t)state, memory_order_release);
}

void mrl_graph_set_version(mrl_graph *graph, uint32_t node, uint32_t version) {
    atomic_store_explicit(&record_of(graph, node)->version, version, memory_order_relaxed);
}

bool mrl_graph_holds(const mrl_graph *graph, uint32_t node, const float *head) {
    uint64_t row[graph->row_bytes / 8];
    float scale = pack(graph, head, row);
    bool same_scale = graph->is_float || graph->cosine || scale == record_of(graph, node)->scale;
    return same_scale && memcmp(row, row_of(graph, node), graph->row_bytes) == 0;
}

// Presence

unsigned mrl_graph_enter(mrl_graph *graph) {
    pthread_mutex_lock(&graph->presence);
    unsigned side = graph->side;
    graph->present[side]++;
    pthread_mutex_unlock(&graph->presence);
    return side;
}

void mrl_graph_leave(mrl_graph *graph, unsigned side) {
    pthread_mutex_lock(&graph->presence);
    if (--graph->present[side] == 0) pthread_cond_signal(&graph->left);
    pthread_mutex_unlock(&graph->presence);
}

// Whoever comes from now on is counted on the other side, which the last wait has left empty.
void mrl_graph_wait(mrl_graph *graph) {
    pthread_mutex_lock(&graph->presence);
    unsigned side = graph->side;
    graph->side = 1 - side;
    while (graph->present[side] > 0) pthread_cond_wait(&graph->left, &graph->presence);
    pthread_mutex_unlock(&graph->presence);
}

// One thread at a time changes the lists of a stripe of nodes; readers do not care.
static void lock_list(mrl_graph *graph, uint32_t node) {
    _Atomic uint8_t *stripe = &graph->stripes[node % STRIPES];
    for (unsigned tries = 0; atomic_exchange_explicit(stripe, 1, memory_order_acquire) != 0; tries++) {
        if (tries % 64 == 63) sched_yield();
    }
}

static void unlock_list(mrl_graph *graph, uint32_t node) {
    atomic_store_explicit(&graph->stripes[node % STRIPES], 0, memory_order_release);
}

// Rankings

// Ties go in another order for each query, so that of many copies of a row each is chosen by some.
#define SPREAD 0x9E3779B1u
#define GATHER 0x0E8B2F51u // SPREAD times this is 1
#define SALT 0x85EBCA6Bu
static inline uint64_t rank(const mrl_graph_query *query, float score, uint32_t node) {
    return (uint64_t)score_key(score) << 32 | (uint32_t)((node ^ query->salt) * SPREAD);
}
static inline uint32_t node_of(const mrl_graph_query *query, uint64_t item) {
    return (uint32_t)item * GATHER ^ query->salt;
}
static inline uint32_t key_of(uint64_t item) { return (uint32_t)(item >> 32); }

static inline void reserve(ranking *heap, size_t capacity) {
    if (heap->capacity >= capacity) return;
    heap->capacity = capacity * 2;
    heap->items = checked(realloc(heap->items, heap->capacity * sizeof *heap->items));
}

// The best is at the root of `open`, the worst at that of `best`: `flip` is all ones for the latter.
static inline void sift_up(uint64_t *items, size_t at, uint64_t flip) {
    uint64_t item = items[at];
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if ((items[parent] ^ flip) >= (item ^ flip)) break;
        items[at] = items[parent];
        at = parent;
    }
    items[at] = item;
}

static inline void sift_down(uint64_t *items, size_t count, uint64_t item, uint64_t flip) {
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) break;
        if (child + 1 < count && (items[child + 1] ^ flip) > (items[child] ^ flip)) child++;
        if ((items[child] ^ flip) <= (item ^ flip)) break;
        items[at] = items[child];
        at = child;
    }
    items[at] = item;
}

static inline void push_open(ranking *open, uint64_t item) {
    reserve(open, open->count + 1);
    open->items[open->count++] = item;
    sift_up(open->items, open->count - 1, 0);
}

static inline uint64_t pop_open(ranking *open) {
    uint64_t best = open->items[0], last = open->items[--open->count];
    if (open->count > 0) sift_down(open->items, open->count, last, 0);
    return best;
}

static inline void offer_best(ranking *best, uint64_t item, size_t keep) {
    if (best->count < keep) {
        reserve(best, best->count + 1);
        best->items[best->count++] = item;
        sift_up(best->items, best->count - 1, ~0ull);
    } else if (item > best->items[0]) {
        sift_down(best->items, best->count, item, ~0ull);
    }
}

static int compare_ranks(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a < b) - (a > b);
}

static void sort_best_first(uint64_t *items, size_t count) { qsort(items, count, sizeof *items, compare_ranks); }

// Scores

static mrl_graph_query query_of(const mrl_graph *graph, uint32_t node) {
    const void *row = row_of(graph, node);
    mrl_graph_query query = {row, 0, graph->width, node * SALT};
    if (!graph->cosine) {
        query.factor = record_of(graph, node)->scale;
    } else if (graph->is_float) {
        query.factor = sqrtf(mrl_float_dot(graph->path, row, row, graph->width));
    } else {
        // Under dot with scales of 1 the score is the squared norm, exactly.
        const int8_t *self = row;
        float one = 1, norm;
        mrl_score_codes(graph->path, self, 1, &self, 1, graph->width, &one, &norm);
        query.factor = sqrtf(norm);
    }
    return query;
}

static inline void prefetch_row(const mrl_graph *graph, const void *row, size_t dimensions) {
    size_t bytes = graph->is_float ? dimensions * 4 : dimensions;
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)row + i);
}

static void score_nodes(const mrl_graph *graph, const mrl_graph_query *query, const uint32_t *nodes, size_t count,
                        float *scores) {
    enum { CHUNK_ROWS = 64 };
    const void *rows[CHUNK_ROWS];
    float scales[CHUNK_ROWS];
    for (size_t start = 0; start < count; start += CHUNK_ROWS) {
        size_t size = count - start < CHUNK_ROWS ? count - start : CHUNK_ROWS;
        for (size_t i = 0; i < size; i++) {
            rows[i] = row_of(graph, nodes[start + i]);
            prefetch_row(graph, rows[i], query->dimensions);
        }
        if (graph->is_float) {
            mrl_score_rows(graph->path, query->values, query->factor, (const float *const *)rows, size,
                           query->dimensions, false, graph->cosine, scores + start);
            continue;
        }
        if (!graph->cosine) {
            for (size_t i = 0; i < size; i++) scales[i] = record_of(graph, nodes[start + i])->scale;
        }
        mrl_score_codes(graph->path, query->values, query->factor, (const int8_t *const *)rows, size,
                        query->dimensions, graph->cosine ? NULL : scales, scores + start);
    }
}

// Walks

mrl_walker *mrl_walker_make(void) { return checked(calloc(1, sizeof(mrl_walker))); }

void mrl_walker_free(mrl_walker *walker) {
    free(walker->visited);
    free(walker->open.items);
    free(walker->best.items);
    free(walker);
}

static void begin_visits(const mrl_graph *graph, mrl_walker *walker) {
    size_t limit = mrl_graph_limit(graph);
    if (walker->visited_count < limit) {
        size_t count = limit + limit / 16 + CHUNK;
        free(walker->visited);
        walker->visited = checked(calloc(count, 1));
        walker->visited_count = count;
        walker->stamp = 0;
    }
    if (++walker->stamp == 0) {
        memset(walker->visited, 0, walker->visited_count);
        walker->stamp = 1;
    }
}

// Nodes that came after the visit began may lie beyond its marks; they are passed over.
static inline bool visit(mrl_walker *walker, uint32_t node) {
    if (node >= walker->visited_count || walker->visited[node] == walker->stamp) return false;
    walker->visited[node] = walker->stamp;
    return true;
}

static inline bool admits(const mrl_graph *graph, uint32_t node, const mrl_graph_filter *filter) {
    int state = state_of(graph, node);
    if (filter == NULL) return is_linkable(state);
    uint16_t owner = record_of(graph, node)->owner;
    return state == MRL_NODE_LIVE && owner < filter->wanted_count && filter->wanted[owner];
}

// Algorithm 2, from all of `seeds`; leaves the best in walker->best, in no order. Without a filter, answers are what
// new links may lead to.
static void walk(const mrl_graph *graph, mrl_walker *walker, const mrl_graph_query *query, const uint64_t *seeds,
                 size_t seed_count, uint32_t effort, unsigned layer, const mrl_graph_filter *filter) {
    ranking *open = &walker->open, *best = &walker->best;
    uint32_t room = room_of(graph, layer);
    begin_visits(graph, walker);
    open->count = 0;
    reserve(open, seed_count);
    for (size_t i = 0; i < seed_count; i++) {
        if (visit(walker, node_of(query, seeds[i]))) push_open(open, seeds[i]);
    }
    // The seeds may lie in `best` itself.
    best->count = 0;
    for (size_t i = 0; i < open->count; i++) {
        if (admits(graph, node_of(query, open->items[i]), filter)) offer_best(best, open->items[i], effort);
    }
    while (open->count > 0) {
        uint64_t next = pop_open(open);
        if (best->count == effort && next < best->items[0]) break;
        uint32_t nodes[2 * LINKS_MAX];
        float scores[2 * LINKS_MAX];
        size_t count = 0;
        link_word *list = list_of(graph, node_of(query, next), layer);
        for (uint32_t i = 0; i < room; i++) {
            uint32_t node = atomic_load_explicit(&list[i], memory_order_acquire);
            if (node == MRL_NODE_NONE) break;
            if (!visit(walker, node)) continue;
            prefetch_row(graph, row_of(graph, node), query->dimensions);
            nodes[count++] = node;
        }
        score_nodes(graph, query, nodes, count, scores);
        for (size_t i = 0; i < count; i++) {
            uint64_t item = rank(query, scores[i], nodes[i]);
            if (best->count == effort && item < best->items[0]) continue;
            push_open(open, item);
            if (admits(graph, nodes[i], filter)) offer_best(best, item, effort);
        }
        if (open->count > 0) {
            const char *ahead = (const char *)list_of(graph, node_of(query, open->items[0]), layer);
            for (size_t i = 0; i < room * sizeof(link_word); i += 64) __builtin_prefetch(ahead + i);
        }
    }
}

// Algorithm 2 with one node in view, from layer `from` down to the one above `to`.
static uint64_t descend(const mrl_graph *graph, const mrl_graph_query *query, uint64_t start, unsigned from,
                        unsigned to) {
    uint64_t best = start;
    for (unsigned layer = from; layer > to; layer--) {
        for (bool moved = true; moved;) {
            moved = false;
            uint32_t nodes[LINKS_MAX];
            float scores[LINKS_MAX];
            size_t count = 0;
            link_word *list = list_of(graph, node_of(query, best), layer);
            for (; count < graph->links; count++) {
                nodes[count] = atomic_load_explicit(&list[count], memory_order_acquire);
                if (nodes[count] == MRL_NODE_NONE) break;
            }
            score_nodes(graph, query, nodes, count, scores);
            for (size_t i = 0; i < count; i++) {
                uint64_t item = rank(query, scores[i], nodes[i]);
                if (item <= best) continue;
                best = item;
                moved = true;
            }
        }
    }
    return best;
}

static uint64_t ranked_node(const mrl_graph *graph, const mrl_graph_query *query, uint32_t node) {
    float score;
    score_nodes(graph, query, &node, 1, &score);
    return rank(query, score, node);
}

// Leaves in walker->best where to begin on the lowest layer.
static void find_seeds(const mrl_graph *graph, mrl_walker *walker, const mrl_graph_query *query, uint32_t entry,
                       uint32_t effort) {
    unsigned highest = record_of(graph, entry)->level;
    uint64_t seed = descend(graph, query, ranked_node(graph, query, entry), highest, highest > 0);
    ranking *best = &walker->best;
    reserve(best, 1);
    if (highest > 0) walk(graph, walker, query, &seed, 1, effort < SEEDS ? effort : SEEDS, 1, NULL);
    else best->count = 0;
    if (best->count == 0) best->items[best->count++] = seed;
}

// Links

// Algorithm 4 without extension: of candidates, best first, those that are nearer to the node than to any chosen one,
// and of copies one; room that is left goes to the nearest others.
static size_t choose(const mrl_graph *graph, const mrl_graph_query *of, const uint64_t *candidates, size_t count,
                     size_t room, uint32_t *chosen) {
    size_t size = 0, left_count = 0;
    uint32_t left[2 * LINKS_MAX];
    for (size_t i = 0; i < count && size < room; i++) {
        uint32_t node = node_of(of, candidates[i]);
        float scores[2 * LINKS_MAX];
        mrl_graph_query query = query_of(graph, node);
        score_nodes(graph, &query, chosen, size, scores);
        bool is_near = true;
        for (size_t k = 0; k < size && is_near; k++) {
            uint32_t key = score_key(scores[k]);
            is_near = key <= key_of(candidates[i])
                && (key < key_of(candidates[i]) || memcmp(query.values, row_of(graph, chosen[k]), graph->row_bytes) != 0);
        }
        if (is_near) chosen[size++] = node;
        else if (left_count < room) left[left_count++] = node;
    }
    for (size_t i = 0; i < left_count && size < room; i++) chosen[size++] = left[i];
    return size;
}

static size_t read_list(link_word *list, uint32_t room, uint32_t *nodes) {
    size_t count = 0;
    for (; count < room; count++) {
        nodes[count] = atomic_load_explicit(&list[count], memory_order_acquire);
        if (nodes[count] == MRL_NODE_NONE) break;
    }
    return count;
}

static void write_list(link_word *list, uint32_t room, const uint32_t *nodes, size_t count) {
    for (uint32_t i = 0; i < room; i++) {
        atomic_store_explicit(&list[i], i < count ? nodes[i] : MRL_NODE_NONE, memory_order_release);
    }
}

static bool contains(const uint32_t *nodes, size_t count, uint32_t node) {
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] == node) return true;
    }
    return false;
}

static void link_back(mrl_graph *graph, uint32_t from, uint32_t to, unsigned layer) {
    uint32_t room = room_of(graph, layer), nodes[BATCH], chosen[2 * LINKS_MAX];
    link_word *list = list_of(graph, from, layer);
    lock_list(graph, from);
    size_t count = read_list(list, room, nodes);
    bool is_held = contains(nodes, count, to);
    if (!is_held && count < room) {
        atomic_store_explicit(&list[count], to, memory_order_release);
    } else if (!is_held) {
        float scores[BATCH];
        uint64_t candidates[BATCH];
        nodes[count++] = to;
        mrl_graph_query query = query_of(graph, from);
        score_nodes(graph, &query, nodes, count, scores);
        for (size_t i = 0; i < count; i++) candidates[i] = rank(&query, scores[i], nodes[i]);
        sort_best_first(candidates, count);
        write_list(list, room, chosen, choose(graph, &query, candidates, count, room, chosen));
    }
    unlock_list(graph, from);
}

// Others may have linked from the node already; theirs stay as far as there is room.
static void link_out(mrl_graph *graph, uint32_t node, unsigned layer, const uint32_t *chosen, size_t count) {
    uint32_t room = room_of(graph, layer), nodes[2 * LINKS_MAX], merged[2 * LINKS_MAX];
    link_word *list = list_of(graph, node, layer);
    size_t size = count < room ? count : room;
    memcpy(merged, chosen, size * sizeof *merged);
    lock_list(graph, node);
    size_t held = read_list(list, room, nodes);
    for (size_t i = 0; i < held && size < room; i++) {
        if (!contains(merged, size, nodes[i])) merged[size++] = nodes[i];
    }
    write_list(list, room, merged, size);
    unlock_list(graph, node);
}

static bool take_entry(mrl_graph *graph, uint32_t node) {
    pthread_mutex_lock(&graph->entry_lock);
    uint32_t entry = atomic_load_explicit(&graph->entry, memory_order_acquire);
    bool is_first = entry == MRL_NODE_NONE;
    if (is_first || record_of(graph, node)->level > record_of(graph, entry)->level) {
        atomic_store_explicit(&graph->entry, node, memory_order_release);
    }
    pthread_mutex_unlock(&graph->entry_lock);
    return is_first;
}

// Links on layers from `top` down to 0, found from the entry.
static void link_layers(mrl_graph *graph, mrl_walker *walker, uint32_t node, uint32_t entry, unsigned top,
                        uint32_t effort) {
    mrl_graph_query query = query_of(graph, node);
    unsigned highest = record_of(graph, entry)->level;
    uint64_t seed = 0;
    ranking *best = &walker->best;
    reserve(best, effort + 1);
    if (top == 0) {
        find_seeds(graph, walker, &query, entry, effort);
    } else {
        seed = descend(graph, &query, ranked_node(graph, &query, entry), highest, top);
        best->items[0] = seed;
        best->count = 1;
    }
    for (unsigned layer = highest < top ? highest : top;; layer--) {
        if (best->count == 0) {
            best->items[0] = seed;
            best->count = 1;
        }
        walk(graph, walker, &query, best->items, best->count, effort, layer, NULL);
        sort_best_first(best->items, best->count);
        size_t count = 0;
        for (size_t i = 0; i < best->count; i++) {
            if (node_of(&query, best->items[i]) != node) best->items[count++] = best->items[i];
        }
        best->count = count;
        uint32_t chosen[2 * LINKS_MAX];
        size_t size = choose(graph, &query, best->items, count, graph->links, chosen);
        link_out(graph, node, layer, chosen, size);
        for (size_t i = 0; i < size; i++) link_back(graph, chosen[i], node, layer);
        if (layer == 0) break;
    }
}

void mrl_graph_link(mrl_graph *graph, mrl_walker *walker, uint32_t node, uint32_t effort) {
    uint32_t entry = atomic_load_explicit(&graph->entry, memory_order_acquire);
    if (entry == MRL_NODE_NONE) {
        if (take_entry(graph, node)) return;
        entry = atomic_load_explicit(&graph->entry, memory_order_acquire);
    }
    unsigned level = record_of(graph, node)->level;
    link_layers(graph, walker, node, entry, level, effort);
    if (level > record_of(graph, entry)->level) take_entry(graph, node);
}

// Repair

// What lies behind doomed links, through any number of doomed nodes; as ranks for `query`.
static size_t look_behind(mrl_graph *graph, mrl_walker *walker, uint32_t node, const mrl_graph_query *query,
                          unsigned layer, const uint32_t *held, size_t count, uint64_t *candidates) {
    uint32_t found[BEHIND_MAX], doomed[BEHIND_MAX], room = room_of(graph, layer);
    size_t found_count = 0, doomed_count = 0;
    begin_visits(graph, walker);
    visit(walker, node);
    for (size_t next = 0, from = 0; from <= doomed_count;) {
        // First the node's own list, then those of the doomed ones in turn.
        uint32_t nodes[2 * LINKS_MAX];
        size_t size = count;
        if (next == 0) memcpy(nodes, held, count * sizeof *nodes);
        else size = read_list(list_of(graph, doomed[from - 1], layer), room, nodes);
        for (size_t i = 0; i < size; i++) {
            if (!visit(walker, nodes[i])) continue;
            int state = state_of(graph, nodes[i]);
            if (state == MRL_NODE_DOOMED) {
                if (doomed_count < BEHIND_MAX) doomed[doomed_count++] = nodes[i];
            } else if (found_count < BEHIND_MAX && (is_linkable(state) || next == 0)) {
                found[found_count++] = nodes[i];
            }
        }
        next = ++from;
        if (found_count >= 4 * room) break;
    }
    float scores[BEHIND_MAX];
    score_nodes(graph, query, found, found_count, scores);
    for (size_t i = 0; i < found_count; i++) candidates[i] = rank(query, scores[i], found[i]);
    sort_best_first(candidates, found_count);
    return found_count;
}

void mrl_graph_repair(mrl_graph *graph, mrl_walker *walker, uint32_t node, uint32_t effort) {
    int state = state_of(graph, node);
    if (state == MRL_NODE_FREE || state == MRL_NODE_DOOMED) return;
    unsigned level = record_of(graph, node)->level;
    bool is_thin = false;
    for (unsigned layer = 0; layer <= level; layer++) {
        uint32_t room = room_of(graph, layer), held[2 * LINKS_MAX], chosen[2 * LINKS_MAX];
        link_word *list = list_of(graph, node, layer);
        size_t count = read_list(list, room, held);
        bool is_whole = true;
        for (size_t i = 0; i < count && is_whole; i++) is_whole = state_of(graph, held[i]) != MRL_NODE_DOOMED;
        if (is_whole) continue;
        mrl_graph_query query = query_of(graph, node);
        uint64_t candidates[BEHIND_MAX];
        lock_list(graph, node);
        count = read_list(list, room, held);
        size_t behind = look_behind(graph, walker, node, &query, layer, held, count, candidates);
        size_t size = choose(graph, &query, candidates, behind, room, chosen);
        write_list(list, room, chosen, size);
        unlock_list(graph, node);
        is_thin = is_thin || behind < graph->links;
        if (!is_linkable(state)) continue;
        for (size_t i = 0; i < size; i++) {
            if (!contains(held, count, chosen[i])) link_back(graph, chosen[i], node, layer);
        }
    }
    uint32_t entry = atomic_load_explicit(&graph->entry, memory_order_acquire);
    if (!is_thin || !is_linkable(state) || entry == node || entry == MRL_NODE_NONE) return;
    unsigned highest = record_of(graph, entry)->level;
    link_layers(graph, walker, node, entry, level < highest ? level : highest, effort);
}

void mrl_graph_replace_entry(mrl_graph *graph, uint32_t node) {
    pthread_mutex_lock(&graph->entry_lock);
    uint32_t entry = atomic_load_explicit(&graph->entry, memory_order_acquire);
    if (entry != MRL_NODE_NONE && state_of(graph, entry) == MRL_NODE_DOOMED) {
        atomic_store_explicit(&graph->entry, node, memory_order_release);
    }
    pthread_mutex_unlock(&graph->entry_lock);
}

// Searches

static int compare_hits(const void *left, const void *right) {
    const mrl_graph_hit *a = left, *b = right;
    uint32_t a_key = score_key(a->score), b_key = score_key(b->score);
    if (a_key != b_key) return a_key > b_key ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static mrl_graph_hit hit_of(const mrl_graph *graph, uint32_t node, float score) {
    node_record *record = record_of(graph, node);
    uint32_t version = atomic_load_explicit(&record->version, memory_order_relaxed);
    return (mrl_graph_hit){record->id, score, node, version, record->owner};
}

size_t mrl_graph_search(const mrl_graph *graph, mrl_walker *walker, const mrl_graph_query *query, uint32_t ef,
                        uint32_t keep, const mrl_graph_filter *filter, mrl_graph_hit *hits) {
    uint32_t entry = atomic_load_explicit(&((mrl_graph *)graph)->entry, memory_order_acquire);
    if (entry == MRL_NODE_NONE) return 0;
    ranking *best = &walker->best;
    if (ef < keep) ef = keep;
    find_seeds(graph, walker, query, entry, ef);
    walk(graph, walker, query, best->items, best->count, ef, 0, filter);
    sort_best_first(best->items, best->count);
    // A row that was written anew on the way may have been met twice; its old node is dead by now.
    size_t count = 0, end = 0;
    for (; end < best->count; end++) {
        if (state_of(graph, node_of(query, best->items[end])) == MRL_NODE_LIVE) best->items[count++] = best->items[end];
    }
    // Ties at the end of `keep` go by id too.
    end = count < keep ? count : keep;
    while (end > 0 && end < count && key_of(best->items[end]) == key_of(best->items[end - 1])) end++;
    mrl_graph_hit *all = end > keep ? checked(malloc(end * sizeof *all)) : hits;
    for (size_t i = 0; i < end; i++) {
        all[i] = hit_of(graph, node_of(query, best->items[i]), mrl_key_score(key_of(best->items[i])));
    }
    qsort(all, end, sizeof *all, compare_hits);
    count = end < keep ? end : keep;
    if (all != hits) {
        memcpy(hits, all, count * sizeof *hits);
        free(all);
    }
    return count;
}

size_t mrl_graph_scan(const mrl_graph *graph, const mrl_graph_query *query, uint32_t keep,
                      const mrl_graph_filter *filter, mrl_graph_hit *hits) {
    enum { ROWS = 64 };
    mrl_selection selection;
    uint32_t capacity = 2 * keep + 64, limit = mrl_graph_limit(graph), nodes[ROWS];
    mrl_candidate *items = checked(malloc(2 * (size_t)capacity * sizeof *items));
    mrl_selection_init(graph->path, &selection, items, capacity, keep);
    float scores[ROWS];
    size_t count = 0;
    for (uint32_t node = 0; node < limit; node++) {
        if (admits(graph, node, filter)) nodes[count++] = node;
        if (count == 0 || (count < ROWS && node + 1 < limit)) continue;
        score_nodes(graph, query, nodes, count, scores);
        for (size_t i = 0; i < count; i++) {
            if (scores[i] < selection.threshold) continue;
            selection_push(&selection, scores[i], record_of(graph, nodes[i])->id, nodes[i]);
        }
        count = 0;
    }
    mrl_selection_finish(&selection, items + capacity);
    size_t kept = 0;
    for (uint32_t i = 0; i < selection.count; i++) {
        uint32_t node = selection.items[i].row;
        if (state_of(graph, node) != MRL_NODE_LIVE) continue;
        hits[kept++] = hit_of(graph, node, mrl_key_score(selection.items[i].key));
    }
    free(items);
    return kept;
}

void mrl_graph_score(const mrl_graph *graph, const mrl_graph_query *query, const mrl_graph_hit *hits, size_t count,
                     float *scores) {
    for (size_t i = 0; i < count; i++) score_nodes(graph, query, &hits[i].node, 1, &scores[i]);
}
