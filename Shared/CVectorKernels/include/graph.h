// A navigable small-world graph over row-major rows (Malkov and Yashunin 2016; the algorithms' numbers are theirs).
//
// Any number of threads may walk, scan, link and repair at once, each with a walker of its own and between enter and
// leave. Lists of links are atomic words, and a node's row is written before any link leads to it. A node that no link
// leads to any more is reclaimed after everybody has left who was in the graph when the last link went.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    // Its memory is free.
    MRL_NODE_FREE = 0,
    // Written; may be linked, but is no answer yet.
    MRL_NODE_PENDING = 1,
    MRL_NODE_LIVE = 2,
    // A way-point that is no answer and gets no new links.
    MRL_NODE_DEAD = 3,
    // Dead, and its links are being taken away.
    MRL_NODE_DOOMED = 4,
};
enum { MRL_GRAPH_LEVEL_MAX = 15 };
#define MRL_NODE_NONE 0xFFFFFFFFu
#define MRL_GRAPH_NODES_MAX (1u << 30)

typedef struct mrl_graph mrl_graph;
typedef struct mrl_walker mrl_walker;

typedef struct {
    int64_t id;
    uint32_t version;
    uint16_t owner;
    uint8_t level;
    uint8_t state;
} mrl_node;

// stored_width: floats of the heads that are written; width: how many are held.
mrl_graph *mrl_graph_make(int path, size_t stored_width, size_t width, bool is_float, bool cosine, uint32_t links);
void mrl_graph_free(mrl_graph *graph);
// Bytes of a node with its links on all layers, on average.
size_t mrl_graph_node_bytes(size_t width, bool is_float, uint32_t links);
// Nodes in use are below it.
uint32_t mrl_graph_limit(const mrl_graph *graph);

// Enter gives what leave takes.
unsigned mrl_graph_enter(mrl_graph *graph);
void mrl_graph_leave(mrl_graph *graph, unsigned side);
// Returns when all have left who are in the graph now; one thread at a time, which is not in it.
void mrl_graph_wait(mrl_graph *graph);

mrl_walker *mrl_walker_make(void);
void mrl_walker_free(mrl_walker *walker);

// A new pending node without links; NONE where there are too many.
uint32_t mrl_graph_claim(mrl_graph *graph, int64_t id, uint32_t version, uint16_t owner, uint8_t level,
                         const float *head);
mrl_node mrl_graph_node(const mrl_graph *graph, uint32_t node);
void mrl_graph_set_state(mrl_graph *graph, uint32_t node, int state);
void mrl_graph_set_version(mrl_graph *graph, uint32_t node, uint32_t version);
// The node's row is what the head would be written as.
bool mrl_graph_holds(const mrl_graph *graph, uint32_t node, const float *head);
// Algorithm 1: makes links to and from a pending node.
void mrl_graph_link(mrl_graph *graph, mrl_walker *walker, uint32_t node, uint32_t effort);
// Replaces a node's links to doomed nodes by links to what lies behind them.
void mrl_graph_repair(mrl_graph *graph, mrl_walker *walker, uint32_t node, uint32_t effort);
// Gives the way in to another node where it is doomed. `node` may be NONE.
void mrl_graph_replace_entry(mrl_graph *graph, uint32_t node);
// Frees a doomed node that nobody can reach any more.
void mrl_graph_reclaim(mrl_graph *graph, uint32_t node);
// Gives the system the memory of chunks whose nodes are all free.
void mrl_graph_give_back(mrl_graph *graph);
// What nodes and links take, free nodes that are not given back included.
size_t mrl_graph_bytes(mrl_graph *graph);

// A query at one step.
typedef struct {
    const void *values; // codes, readable to a multiple of 32, or floats
    float factor;       // root of the prefix's squared norm (cosine), scale (int8, dot)
    size_t dimensions;
    uint32_t salt; // any; orders ties
} mrl_graph_query;

// Nodes below `wanted_count` whose owner is wanted are answers.
typedef struct {
    const uint8_t *wanted; // by owner
    size_t wanted_count;
} mrl_graph_filter;

typedef struct {
    int64_t id;
    float score;
    uint32_t node;
    uint32_t version;
    uint16_t owner;
} mrl_graph_hit;

// Algorithm 5: at most `keep` hits, best first, ties by id, of a walk that keeps `ef` in view; returns their number.
size_t mrl_graph_search(const mrl_graph *graph, mrl_walker *walker, const mrl_graph_query *query, uint32_t ef,
                        uint32_t keep, const mrl_graph_filter *filter, mrl_graph_hit *hits);
// The same from all nodes, exactly.
size_t mrl_graph_scan(const mrl_graph *graph, const mrl_graph_query *query, uint32_t keep,
                      const mrl_graph_filter *filter, mrl_graph_hit *hits);
// Scores of hits at another step.
void mrl_graph_score(const mrl_graph *graph, const mrl_graph_query *query, const mrl_graph_hit *hits, size_t count,
                     float *scores);

// Scores of row-major codes, given by their addresses, readable to a multiple of 32; scales: null under cosine.
void mrl_score_codes(int path, const int8_t *query, float query_factor, const int8_t *const *rows, size_t count,
                     size_t dimensions, const float *scales, float *scores);
