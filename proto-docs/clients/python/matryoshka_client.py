"""A client of Matryoshka's front protocol (proto-docs/front-protocol.md).

Needs pyzmq; numpy only where vectors are sent, and where it is there, vectors come back as arrays.

    with Client("ipc:///run/matryoshka/front.sock") as client:
        for hit in client.search("packages", text="play chess").hits[0]:
            print(hit["score"], hit["id"])

A Client belongs to one thread. `submit` and `wait` keep many requests in flight on its one DEALER socket.
"""
import itertools
import json
import struct
import time

import zmq

MAGIC = b"MRL1"
INLINE_BYTES_MAX = 4096
"""Longer lists travel as buffers, since a header has at most 16 KiB."""


class MatryoshkaError(Exception):
    """The server refused a request, or did not answer."""

    def __init__(self, code, message, field=None, allowed=None, retryable=False, retry_after_ms=None, coverage=None):
        text = f"{code}: {message}"
        if field:
            text += f" (field {field})"
        if allowed:
            text += f"; allowed: {allowed}"
        super().__init__(text)
        self.code = code
        self.message = message
        self.field = field
        self.allowed = allowed
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.coverage = coverage


class Reply:
    """A reply: its `header` (a dict) and its `buffers` (bytes by name)."""

    def __init__(self, header, buffers):
        self.header = header
        self.buffers = buffers

    def __getitem__(self, key):
        return self.header[key]

    def lines(self, name):
        """The values of a JSON-lines buffer."""
        return [json.loads(line) for line in self.buffers.get(name, b"").split(b"\n") if line]

    @property
    def hits(self):
        """Of a search: a list of hits for each query."""
        hits = [[] for _ in self.header.get("counts", [])]
        for hit in self.lines("hits"):
            hits[hit["query"]].append(hit)
        return hits

    @property
    def documents(self):
        """Of a get: the documents that exist."""
        return self.lines("documents")

    @property
    def failures(self):
        """Of a write: what was not written, with its index and error."""
        return self.lines("failures")

    @property
    def vectors(self):
        """Rows of the buffer `vectors`: a numpy array where numpy is there, else lists; None without the buffer."""
        entry = next((b for b in self.header.get("buffers", []) if b["name"] == "vectors"), None)
        if entry is None:
            return None
        rows, width = entry["shape"]
        data = self.buffers["vectors"]
        try:
            import numpy
        except ImportError:
            values = struct.unpack(f"<{rows * width}f", data)
            return [list(values[row * width:(row + 1) * width]) for row in range(rows)]
        return numpy.frombuffer(data, dtype="<f4").reshape(rows, width)


class Client:
    """Speaks to one coordinator.

    timeout: seconds a request may take unless it says so; the server is told the same as its deadline.
    curve: (server public key, client public key, client secret key), Z85, for endpoints beyond this machine.
    name: who asks, at most 64 bytes: idempotency keys are this client's own. With curve the key tells.
    """

    def __init__(self, endpoint, timeout=10.0, curve=None, context=None, name=None):
        self._endpoint = endpoint
        self._timeout = timeout
        self._name = {"client": name} if name else {}
        self._ids = itertools.count(1)
        self._done = {}
        self._socket = (context or zmq.Context.instance()).socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        # Nothing may queue for a server that is away and reach another one later.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        if curve:
            self._socket.curve_serverkey, self._socket.curve_publickey, self._socket.curve_secretkey = (
                key.encode() if isinstance(key, str) else key for key in curve
            )
        self._socket.connect(endpoint)

    def close(self):
        """Closes the connection; requests in flight are lost."""
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # What can be asked

    def hello(self, **options):
        """Versions, limits and collections of the server."""
        return self.call("hello", {}, **options)

    def search(self, collection, text=None, texts=None, vectors=None, **options):
        """Searches by text, texts, or vectors (one, or rows). Keys of the protocol are options: plan, k,
        min_coverage, with_payload, explain, columns, model, probes, ef, exact."""
        return self.wait(self.submit_search(collection, text=text, texts=texts, vectors=vectors, **options))

    def submit_search(self, collection, text=None, texts=None, vectors=None, **options):
        """Like search, but returns a ticket for `wait` at once."""
        header, buffers = {"collection": collection}, []
        if text is not None:
            header["text"] = text
        if texts is not None:
            _put(header, buffers, "texts", list(texts))
        if vectors is not None:
            buffers.append(_floats("vectors", vectors))
        return self.submit("search", header, buffers, **options)

    def encode(self, texts, role="query", **options):
        """Vectors of texts; see Reply.vectors. Options: collection, model."""
        header, buffers = {"role": role}, []
        _put(header, buffers, "texts", [texts] if isinstance(texts, str) else list(texts))
        return self.call("encode", header, buffers, **options)

    def classify(self, texts, **options):
        """Labels of texts: a list of {"label", "confidence", "size"}. Options: classifier, threshold."""
        header, buffers = {}, []
        _put(header, buffers, "texts", [texts] if isinstance(texts, str) else list(texts))
        return self.call("classify", header, buffers, **options).lines("labels")

    def upsert(self, collection, documents, vectors=None, **options):
        """Writes documents ({"id", "text", "payload", "vector"}) in one transaction, with one row of vectors for
        each, or rows that documents name by "vector". Options: role, wait, on_error, idempotency_key, model."""
        documents = list(documents)
        lines = b"".join(_json(document) + b"\n" for document in documents)
        buffers = [({"name": "documents", "dtype": "jsonl", "shape": [len(documents)]}, lines)]
        if vectors is not None:
            buffers.append(_floats("vectors", vectors))
        return self.call("upsert", {"collection": collection}, buffers, **options)

    def delete(self, collection, ids, **options):
        """Deletes documents. Options: wait, idempotency_key."""
        return self._with_ids("delete", collection, ids, options)

    def get(self, collection, ids, **options):
        """Documents by id. Options: with_vector."""
        return self._with_ids("get", collection, ids, options)

    def collections(self, action="list", **options):
        """Lists, creates, drops, aliases or configures collections. Options: name, dimensions, …"""
        return self.call("collections", {"action": action}, **options)

    def status(self, **options):
        """How the cluster is."""
        return self.call("status", {}, **options)

    def cancel(self, ticket, **options):
        """Cancels a submitted request; its `wait` raises CANCELLED if it was still under way."""
        return self.call("cancel", {"target": ticket}, **options)

    # How it is asked

    def call(self, type, header, buffers=(), **options):
        """Sends a request and waits for its reply."""
        return self.wait(self.submit(type, header, buffers, **options))

    def submit(self, type, header, buffers=(), timeout=None, **options):
        """Sends a request; returns a ticket for `wait`. Options become keys of the header."""
        ticket = str(next(self._ids))
        timeout = self._timeout if timeout is None else timeout
        header = {"type": type, "id": ticket, "deadline_ms": max(1, min(60_000, int(timeout * 1000))), **self._name, **header}
        header.update({key: value for key, value in options.items() if value is not None or key == "collection"})
        if buffers:
            header["buffers"] = [entry for entry, _ in buffers]
        frames = [MAGIC, _json(header)] + [data for _, data in buffers]
        if not self._socket.poll(int(timeout * 1000), zmq.POLLOUT):
            raise MatryoshkaError("UNAVAILABLE", f"no connection to {self._endpoint}", retryable=True)
        self._socket.send_multipart(frames, zmq.DONTWAIT)
        # Beyond the deadline, so that the server's own word on it arrives.
        self._done[ticket] = time.monotonic() + timeout + 0.5
        return ticket

    def wait(self, ticket):
        """The reply to a submitted request; replies to others that come meanwhile are kept."""
        limit = self._done[ticket]
        while not isinstance(self._done[ticket], Reply):
            left = limit - time.monotonic()
            if left <= 0 or not self._socket.poll(int(left * 1000) + 1):
                del self._done[ticket]
                raise MatryoshkaError("DEADLINE_EXCEEDED", f"{self._endpoint} did not answer", retryable=True)
            reply = _read(self._socket.recv_multipart())
            if reply.header.get("id") in self._done:
                self._done[reply.header["id"]] = reply
        reply = self._done.pop(ticket)
        if reply.header["type"] == "error":
            known = ("code", "message", "field", "allowed", "retryable", "retry_after_ms", "coverage")
            raise MatryoshkaError(**{key: value for key, value in reply.header.items() if key in known})
        return reply

    def _with_ids(self, type, collection, ids, options):
        header, buffers = {"collection": collection}, []
        _put(header, buffers, "ids", [ids] if isinstance(ids, str) else list(ids))
        return self.call(type, header, buffers, **options)


def _read(frames):
    if len(frames) < 2 or frames[0] != MAGIC:
        raise MatryoshkaError("BAD_FRAME", "the server's message does not begin with MRL1")
    header = json.loads(frames[1])
    names = [entry["name"] for entry in header.get("buffers", [])]
    return Reply(header, dict(zip(names, frames[2:])))


def _json(value):
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _put(header, buffers, name, strings):
    if sum(len(string.encode()) + 3 for string in strings) <= INLINE_BYTES_MAX:
        header[name] = strings
    else:
        lines = b"".join(_json(string) + b"\n" for string in strings)
        buffers.append(({"name": name, "dtype": "jsonl", "shape": [len(strings)]}, lines))


def _floats(name, vectors):
    import numpy

    rows = numpy.ascontiguousarray(vectors, dtype="<f4")
    if rows.ndim == 1:
        rows = rows[None, :]
    return {"name": name, "dtype": "f32", "shape": list(rows.shape)}, rows.tobytes()
