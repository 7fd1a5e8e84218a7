"""Arguments: KIND WHAT SIZE WARM TIME CPU,CPU|-    Prints messages or calls per second, or nanoseconds.

KIND WHAT: queue|pipe|managed queue oneway|awake, or manager set|get|put and get, or NAME attach
"""
import multiprocessing as mp
import os
import sys
from multiprocessing.managers import SyncManager
from time import perf_counter as now, perf_counter_ns as now_ns

kind, what, size, warm, time, cpus = sys.argv[1:]
size, warm, time = int(size), float(warm), float(time)
message = b"Z" * size


def pin(side):
    if cpus != "-":
        os.sched_setaffinity(0, {int(cpus.split(",")[side])})


def manager(side):
    manager = SyncManager(ctx=mp.get_context("fork"))
    manager.start(*(() if side is None else (pin, (side,))))
    managers.append(manager)
    return manager


def channel():
    """(send, receive)"""
    if kind == "queue":
        queue = mp.Queue(1024 if size <= 1024 else 64)
        return queue.put, queue.get
    if kind == "managed queue":
        queue = manager(None).Queue(1024 if size <= 1024 else 64)
        return queue.put, queue.get
    receiver, sender = mp.Pipe(duplex=False)
    return sender.send_bytes, receiver.recv_bytes


def calls():
    """(one turn, calls per turn)"""
    here = manager(1)
    pin(0)
    if what == "put and get":
        queue = here.Queue()
        put, get = queue.put, queue.get
        return lambda n: (put(n), get()), 2
    dict = here.dict({key: key for key in range(1000)})
    if what == "set":
        set = dict.__setitem__
        return lambda n: set(n % 1000, n), 1
    get = dict.__getitem__
    return lambda n: get(n % 1000), 1


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
    for manager in managers:
        manager.shutdown()
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

managers = []
if kind == "manager":
    turn, each = calls()
    n, begin = 0, now()
    while now() - begin < warm:
        turn(n)
        n += 1
    first, begin = n, now()
    while now() - begin < time:
        turn(n)
        n += 1
    print(each * (n - first) / (now() - begin))
    managers[0].shutdown()
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
