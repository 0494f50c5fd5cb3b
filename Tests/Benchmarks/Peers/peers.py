#!/usr/bin/env python3
"""Measures other libraries over a data set that `retrieval-benchmark data` made, in the form that it reports.

Every library runs with the settings that its documentation recommends for speed, over a sweep of its parameter for
recall. Single queries run on one thread; batches on --threads. Times are wall clock and processor time.
"""
import argparse
import gc
import json
import os
import subprocess
import sys
import time

K = 10


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder of the data set")
    parser.add_argument("--output", required=True, help="folder of results")
    parser.add_argument("--threads", type=int, default=1, help="threads of batched runs")
    parser.add_argument("--batch", type=int, default=128, help="queries of a batch")
    parser.add_argument("--seconds", type=float, default=2.0, help="time of each single and each batched run")
    parser.add_argument("--build-seconds", type=float, default=1200, help="time to build a graph; rows are halved to fit")
    parser.add_argument("--methods", default="flat,prefix,ivf,panorama,faiss-hnsw,hnswlib,usearch")
    parser.add_argument("--pca", action="store_true", help="prefixes of principal axes, for models that are not Matryoshka")
    parser.add_argument("--probe", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def best_core_type(arguments):
    """The wheel's OpenBLAS chooses its kernels at its start, and not always the fastest: all are tried."""
    rates = {}
    for core in ["", "Haswell", "SkylakeX", "Cooperlake", "SapphireRapids"]:
        environment = dict(os.environ, OPENBLAS_CORETYPE=core)
        if not core:
            environment.pop("OPENBLAS_CORETYPE")
        run = subprocess.run(
            [sys.executable, __file__, arguments.data, "--output", arguments.output, "--probe"],
            env=environment, capture_output=True, text=True,
        )
        if run.returncode == 0:
            rates[core or "unset"] = float(run.stdout)
    best = max(rates, key=rates.get)
    if best == "unset":
        os.environ.pop("OPENBLAS_CORETYPE", None)
    else:
        os.environ["OPENBLAS_CORETYPE"] = best
    return best, rates


ARGUMENTS = arguments()
os.environ["OMP_NUM_THREADS"] = str(ARGUMENTS.threads)
os.environ["OPENBLAS_NUM_THREADS"] = "1"
if not ARGUMENTS.probe:
    CORE, CORE_RATES = best_core_type(ARGUMENTS)

import faiss  # noqa: E402  (after the choice of the core type)
import numpy as np  # noqa: E402

# The wheel's own default sends batches of less than 128,000 queries past BLAS: 4 to 20 times slower.
faiss.cvar.distance_compute_blas_threshold = 20


def probe():
    base = np.load(ARGUMENTS.data + "/base.npy", mmap_mode="r")
    queries = np.load(ARGUMENTS.data + "/queries.npy").astype(np.float32)[:200]
    index = faiss.IndexFlatIP(base.shape[1])
    index.add(np.ascontiguousarray(base[:30_000], dtype=np.float32))
    index.search(queries, K)
    started = time.process_time()
    for _ in range(3):
        index.search(queries, K)
    print(3 * len(queries) / (time.process_time() - started))


def resident():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


class Build:
    """Times and memory of what is built within `with`."""

    def __enter__(self):
        gc.collect()
        self.memory, self.wall, self.processor = resident(), time.monotonic(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall, self.processor = time.monotonic() - self.wall, time.process_time() - self.processor
        self.memory = resident() - self.memory


class Run:
    def __init__(self):
        base = np.load(ARGUMENTS.data + "/base.npy", mmap_mode="r")
        if base.dtype != np.float32:
            # Converted once; FAISS and the graphs take float32.
            base = base.astype(np.float32)
        self.base = base
        self.queries = np.load(ARGUMENTS.data + "/queries.npy").astype(np.float32)
        self.rows, self.dimensions = base.shape
        self.results = []

    def save(self):
        environment = {
            "faiss": faiss.__version__ + " " + faiss.get_compile_options().strip(),
            "distance_compute_blas_threshold": "20",
            "OPENBLAS_CORETYPE": CORE,
            "OPENBLAS_CORETYPE rates": ", ".join(f"{core} {rate:.0f}/s" for core, rate in CORE_RATES.items()),
            "threads": str(ARGUMENTS.threads),
            "graphs": f"largest N built within {ARGUMENTS.build_seconds:.0f} s",
        }
        for name in ["hnswlib", "usearch"]:
            module = sys.modules.get(name)
            if module:
                environment[name] = getattr(module, "__version__", "0.8.0")
        path = ARGUMENTS.output + "/peers.json"
        with open(path, "w") as file:
            json.dump({"environment": environment, "results": self.results}, file, indent=1)

    def measure(self, engine, method, setting, search, build, rows=None, note=None, set_threads=None):
        """`search(queries)` returns ids, -1 for none."""
        queries, count = self.queries, len(self.queries)
        if set_threads:
            set_threads(1)
        walls, processors = [], []
        started = time.monotonic()
        for number in range(-3, count):
            if number >= 20 and time.monotonic() - started > ARGUMENTS.seconds:
                break
            query = queries[number % count:number % count + 1]
            processor, wall = time.thread_time(), time.monotonic()
            search(query)
            wall, processor = time.monotonic() - wall, time.thread_time() - processor
            if number >= 0:
                walls.append(wall * 1e3)
                processors.append(processor * 1e3)
        if set_threads:
            set_threads(ARGUMENTS.threads)
        step = ARGUMENTS.batch * ARGUMENTS.threads
        found, done = [], 0
        processor, wall = time.process_time(), time.monotonic()
        first = True
        while first or time.monotonic() - wall < ARGUMENTS.seconds:
            for start in range(0, count, step):
                if done and time.monotonic() - wall > ARGUMENTS.seconds * 5:
                    break
                ids = search(queries[start:start + step])
                done += len(ids)
                if first:
                    found.append(np.asarray(ids))
            first = False
        wall, processor = time.monotonic() - wall, time.process_time() - processor
        if set_threads:
            set_threads(1)
        name = f"peer-{len(self.results)}.npy"
        ids = np.concatenate(found).astype(np.int64)[:, :K]
        np.save(f"{ARGUMENTS.output}/{name}", np.where(ids > 2**31 - 1, -1, ids).astype(np.int32))
        self.results.append({
            "engine": engine, "method": method, "setting": setting, "rows": rows or self.rows,
            "dimensions": self.dimensions, "threads": ARGUMENTS.threads, "batch": ARGUMENTS.batch,
            "single_p50_milliseconds": float(np.quantile(walls, 0.5)),
            "single_p99_milliseconds": float(np.quantile(walls, 0.99)),
            "single_processor_milliseconds": float(np.quantile(processors, 0.5)),
            "batched_per_second": done / wall, "batched_per_core_second": done / max(processor, 1e-9),
            "memory_bytes": build.memory, "build_seconds": build.wall, "build_processor_seconds": build.processor,
            "found": name, "note": note,
        })
        print(f"{engine} {method} {setting}: {np.quantile(processors, .5):.3f} ms, {done / processor:.0f} q/s/core",
              file=sys.stderr)
        self.save()

    # FAISS

    def faiss(self, method, setting, index, build, parameters=None, rows=None, note=None):
        self.measure("FAISS", method, setting, lambda q: index.search(q, K, params=parameters)[1] if parameters
                     else index.search(q, K)[1], build, rows, note, faiss.omp_set_num_threads)

    def chunks(self, rows=None, size=50_000):
        rows = rows or self.rows
        for start in range(0, rows, size):
            yield np.ascontiguousarray(self.base[start:min(start + size, rows)])

    def flat_index(self):
        if not hasattr(self, "full"):
            with Build() as self.full_build:
                self.full = faiss.IndexFlatIP(self.dimensions)
                for chunk in self.chunks():
                    self.full.add(chunk)
        return self.full

    def flat(self):
        self.faiss("flat", "full", self.flat_index(), (self.flat_index(), self.full_build)[1])

    def on_prefix(self, inner, width):
        """`inner` over the renormalised prefix."""
        chain = faiss.IndexPreTransform(inner)
        chain.prepend_transform(faiss.NormalizationTransform(width, 2.0))
        chain.prepend_transform(faiss.PCAMatrix(self.dimensions, width) if ARGUMENTS.pca else
                                faiss.RemapDimensionsTransform(self.dimensions, width, False))
        return chain

    def sized(self, width):
        return f"{width} dims" + (", pca" if ARGUMENTS.pca else "")

    def sweep_refine(self, method, setting, index, build, keeps, inner=None, efforts=(None,)):
        refine = faiss.IndexRefine(index, self.flat_index())
        for keep in keeps:
            refine.k_factor = keep / K
            before = None
            for effort in efforts:
                if effort:
                    inner.nprobe = effort
                ids = refine.search(self.queries, K)[1]
                if before is not None and np.mean(ids == before) > 0.9995:
                    break  # more lists change nothing any more
                before = ids
                name = f"{setting}, K {keep}" + (f", nprobe {effort}" if effort else "")
                self.faiss(method, name, refine, build)

    def prefix(self):
        self.flat_index()
        for width, keeps in [(16, [400, 1000]), (32, [200, 400]), (64, [100, 200, 1000]), (128, [50, 100, 400, 1000])]:
            if width >= self.dimensions:
                continue
            with Build() as build:
                index = self.on_prefix(faiss.IndexFlatIP(width), width)
                if ARGUMENTS.pca:
                    index.train(np.ascontiguousarray(self.base[:20_000]))
                for chunk in self.chunks():
                    index.add(chunk)
            self.sweep_refine("prefix flat + refine", self.sized(width), index, build, keeps)

    def ivf(self):
        self.flat_index()
        lists = 1 << max(6, min(12, round(np.log2(2 * self.rows ** 0.5))))
        sample = np.ascontiguousarray(self.base[:min(self.rows, lists * 64)])
        for width in [w for w in (32, 64, 128) if w < self.dimensions]:
            with Build() as build:
                quantizer = faiss.IndexFlatIP(width)
                inner = faiss.IndexIVFScalarQuantizer(
                    quantizer, width, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
                index = self.on_prefix(inner, width)
                faiss.omp_set_num_threads(ARGUMENTS.threads)
                index.train(sample)
                for chunk in self.chunks():
                    index.add(chunk)
            self.sweep_refine(f"IVF{lists}-SQ8 prefix {width} + refine", self.sized(width), index, build,
                              {32: [100, 400], 64: [50, 100, 200, 1000], 128: [50, 100, 400, 1000]}[width],
                              inner, [1, 2, 4, 8, 16, 32, 64, 128])

    def panorama(self):
        levels = max(2, min(8, self.dimensions // 64))
        with Build() as build:
            index = faiss.IndexFlatIPPanorama(self.dimensions, levels, 512) if hasattr(
                faiss, "IndexFlatIPPanorama") else None
            if index is not None:
                for chunk in self.chunks():
                    index.add(chunk)
        if index is not None:
            self.faiss("flat Panorama", f"full, {levels} levels", index, build)

    def grow(self, add, size=20_000):
        """Adds rows by doubling, as long as the next doubling is expected to end in time; returns how many."""
        sizes = [self.rows]
        while sizes[0] > 50_000:
            sizes.insert(0, sizes[0] // 2)
        started, held = time.monotonic(), 0
        for place, target in enumerate(sizes):
            for start in range(held, target, size):
                end = min(start + size, target)
                add(np.ascontiguousarray(self.base[start:end]), start, end)
            held = target
            spent = time.monotonic() - started
            # A graph costs a little more than its rows: log N.
            if place + 1 < len(sizes) and spent * 2.3 > ARGUMENTS.build_seconds:
                break
        return held

    def faiss_hnsw(self):
        faiss.omp_set_num_threads(ARGUMENTS.threads)
        with Build() as build:
            index = faiss.IndexHNSWFlat(self.dimensions, 32, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efConstruction = 40
            rows = self.grow(lambda chunk, start, end: index.add(chunk))
        for effort in [16, 32, 64, 128, 256, 512]:
            index.hnsw.efSearch = effort
            self.faiss("HNSW32 efC40", f"full, ef {effort}", index, build, rows=rows)

    # graphs of others

    def hnswlib(self):
        import hnswlib
        index = hnswlib.Index(space="ip", dim=self.dimensions)
        index.init_index(max_elements=self.rows, M=16, ef_construction=100)
        with Build() as build:
            rows = self.grow(lambda chunk, start, end: index.add_items(
                chunk, np.arange(start, end), num_threads=ARGUMENTS.threads))
        for effort in [16, 32, 64, 128, 256, 512]:
            index.set_ef(effort)
            threads = [1]
            self.measure("hnswlib", "M16 efC100", f"full, ef {effort}",
                         lambda q: index.knn_query(q, k=K, num_threads=threads[0])[0], build, rows,
                         set_threads=lambda count: threads.__setitem__(0, count))

    def usearch(self):
        from usearch.index import Index
        index = Index(ndim=self.dimensions, metric="ip", dtype="i8", connectivity=16, expansion_add=64)
        with Build() as build:
            rows = self.grow(lambda chunk, start, end: index.add(
                np.arange(start, end), chunk, threads=ARGUMENTS.threads))
        base = self.base

        def search(queries, keep, threads):
            keys = index.search(queries, keep, threads=threads).keys
            keys = np.asarray(keys).reshape(len(queries), -1).astype(np.int64)
            out = np.empty((len(queries), K), np.int64)
            for number, (query, ids) in enumerate(zip(queries, keys)):
                scores = base[ids] @ query
                out[number] = ids[np.argsort(-scores)[:K]]
            return out

        for effort, keep in [(32, 20), (64, 30), (128, 30), (256, 50), (512, 100)]:
            index.expansion_search = effort
            threads = [1]
            self.measure("usearch", "i8 M16 efC64 + rerank", f"full, ef {effort}, K {keep}",
                         lambda q: search(q, keep, threads[0]), build, rows,
                         set_threads=lambda count: threads.__setitem__(0, count))


def main():
    if ARGUMENTS.probe:
        return probe()
    os.makedirs(ARGUMENTS.output, exist_ok=True)
    run = Run()
    for name in ARGUMENTS.methods.split(","):
        if name in ("faiss-hnsw", "hnswlib", "usearch") and hasattr(run, "full"):
            del run.full  # memory for the graph
        getattr(run, name.replace("-", "_"))()
        gc.collect()
    # The sizes at which our own methods are repeated.
    print(" ".join(sorted({str(result["rows"]) for result in run.results}, key=int)))


main()
