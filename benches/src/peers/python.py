"""Arguments: queue|pipe oneway|awake SIZE WARM TIME CPU,CPU|-    Prints messages per second, or nanoseconds.
   Or:        NAME attach 0 WARM TIME -"""
import multiprocessing as mp
import os
import sys
from time import perf_counter as now, perf_counter_ns as now_ns

kind, what, size, warm, time, cpus = sys.argv[1:]
size, warm, time = int(size), float(warm), float(time)
message = b"Z" * size


def pin(side):
    if cpus != "-":
        os.sched_setaffinity(0, {int(cpus.split(",")[side])})


def channel():
    """(send, receive)"""
    if kind == "queue":
        queue = mp.Queue(1024 if size <= 1024 else 64)
        return queue.put, queue.get
    receiver, sender = mp.Pipe(duplex=False)
    return sender.send_bytes, receiver.recv_bytes


def flood(send):
    pin(0)
    while True:
        send(message)


def echo(receive, send):
    pin(1)
    while True:
        send(receive())


def end(child):
    sys.stdout.flush()
    child.kill()
    child.join()
    os._exit(0)


def attach():
    """Opens and closes shared memory of that name, without ever removing the name."""
    try:
        opened = shared_memory.SharedMemory(kind, track=False)
    except TypeError:  # before 3.13
        opened = shared_memory.SharedMemory(kind)
        resource_tracker.unregister(opened._name, "shared_memory")
    opened.close()


if what == "attach":
    from multiprocessing import resource_tracker, shared_memory

    begin, samples = now(), []
    while now() - begin < warm + time or not samples:
        t = now_ns()
        attach()
        if now() - begin >= warm:
            samples.append(now_ns() - t)
    print(*samples)
    sys.exit()

fork = mp.get_context("fork").Process
there_send, there_receive = channel()
if what == "oneway":
    child = fork(target=flood, args=(there_send,), daemon=True)
    child.start()
    pin(1)
    there_receive()
    begin = now()
    while now() - begin < warm:
        there_receive()
    count, begin = 0, now()
    while True:
        there_receive()
        count += 1
        if count % 16 == 0 and now() - begin >= time:
            break
    print(count / (now() - begin))
    end(child)
else:
    back_send, back_receive = channel()
    child = fork(target=echo, args=(there_receive, back_send), daemon=True)
    child.start()
    pin(0)
    begin, samples = now(), []
    while now() - begin < warm + time or not samples:
        t = now_ns()
        there_send(message)
        back_receive()
        if now() - begin >= warm:
            samples.append(now_ns() - t)
    print(*samples)
    end(child)
