"""Arguments: map CHUNK|apply PAUSE, WARM TIME CPU,CPU|-    Prints tasks per second, or nanoseconds."""
import multiprocessing as mp
import os
import sys
from time import perf_counter as now, perf_counter_ns as now_ns

what, number, warm, time, cpus = sys.argv[1:]
warm, time = float(warm), float(time)
cpus = [] if cpus == "-" else [int(cpu) for cpu in cpus.split(",")]
ITEMS = range(2000)


def work(n):
    return n + 1


def pin(cpu):
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


def begin_worker(places):
    pin(places.get())


context = mp.get_context("fork")
places = context.SimpleQueue()
for side in range(2):
    # Of a map's workers each has a CPU; those of an apply share the one that its caller has not.
    places.put(cpus[side if what == "map" else 1] if cpus else None)
pool = context.Pool(2, begin_worker, (places,))
if what == "map":
    chunk = int(number) or None
    begin, tasks = now(), 0
    while now() - begin < warm:
        pool.map(work, ITEMS, chunk)
    begin = now()
    while True:
        results = pool.map(work, ITEMS, chunk)
        tasks += len(results)
        if now() - begin >= time:
            break
    print(tasks / (now() - begin))
else:
    pin(cpus[0] if cpus else None)
    pause, samples, begin = float(number), [], now()
    while now() - begin < warm + time or not samples:
        busy = now()
        while now() - busy < pause:
            pass
        t = now_ns()
        pool.apply(work, (1,))
        if now() - begin >= warm:
            samples.append(now_ns() - t)
    print(*samples)
sys.stdout.flush()
os._exit(0)
