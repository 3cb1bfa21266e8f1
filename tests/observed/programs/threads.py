# Threads of CPython that wait: two for each other's locks, one asleep, one at a queue, one at an event.
import os, queue, sys, threading, time


def tell(name):
    # One write a line: threads tell of themselves at the same time.
    os.write(1, b"thread %s %d\n" % (name.encode(), threading.get_native_id()))


def both(name, first, second, held):
    tell(name)
    with first:
        held.wait()
        with second:
            raise SystemExit("no deadlock")


def run(name, body):
    threading.Thread(target=lambda: (tell(name), body()), daemon=True).start()


alpha, beta, held = threading.Lock(), threading.Lock(), threading.Barrier(2)
threading.Thread(target=both, args=("lock-a", alpha, beta, held), daemon=True).start()
threading.Thread(target=both, args=("lock-b", beta, alpha, held), daemon=True).start()
run("asleep", lambda: time.sleep(3600))
run("queue", queue.Queue().get)
run("event", threading.Event().wait)
tell("main")
os.write(1, b"ready\n")
sys.stdin.read()
os._exit(0)
