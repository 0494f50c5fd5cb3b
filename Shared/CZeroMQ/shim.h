#include <zmq.h>

/// ETERM as a constant: Swift does not import macros that are sums.
static const int zmq_context_terminated = ETERM;

/// Socket option that the stable library knows but only its draft header names.
#ifndef ZMQ_ZAP_ENFORCE_DOMAIN
#define ZMQ_ZAP_ENFORCE_DOMAIN 93
#endif
