"""What ranks run in tests of the guard; a module, because other processes import it."""


def fail(*args):
    return 1 / 0


def deadlock(*args):
    import threading

    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
