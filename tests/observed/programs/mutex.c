/* One mutex of the kind that the argument names, held by "owner" and wanted by "waiter" (and, timed, by a
 * second one). The owner sleeps. */
#include "truth.h"
#include <sys/mman.h>
#include <time.h>

static pthread_mutex_t *lock;
static pthread_barrier_t held;
static const char *kind;

static int is(const char *name) { return strcmp(kind, name) == 0; }

static void *owner(void *with) {
    (void)with;
    thread_is("owner");
    if (is("owner_died")) {
        /* The one before us has ended with the lock held: it is ours now, in an inconsistent state. */
        int told = pthread_mutex_lock(lock);
        if (told != EOWNERDEAD) _exit(3);
    } else {
        pthread_mutex_lock(lock);
        if (is("recursive")) pthread_mutex_lock(lock);
    }
    pthread_barrier_wait(&held);
    if (is("abandoned")) return NULL;
    sleep_on();
    return NULL;
}

static void *waiter(void *with) {
    (void)with;
    thread_is("waiter");
    pthread_mutex_lock(lock);
    return NULL;
}

static void *timed(void *with) {
    (void)with;
    thread_is("timed");
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 3600;
    pthread_mutex_timedlock(lock, &until);
    return NULL;
}

static void *dies_with_it(void *with) {
    (void)with;
    pthread_mutex_lock(lock);
    return NULL;
}

int main(int argc, char **argv) {
    live_with_input();
    kind = argc > 1 ? argv[1] : "normal";
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    if (is("recursive")) pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    if (is("error_checking")) pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
    if (is("adaptive")) pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
    if (is("robust") || is("owner_died")) pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    if (is("priority_inheritance")) pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    if (is("process_shared")) {
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        lock = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    } else {
        lock = malloc(sizeof *lock);
    }
    pthread_mutex_init(lock, &attributes);
    lock_is("lock", lock);
    thread_is("main");
    pthread_barrier_init(&held, NULL, 2);
    if (is("owner_died")) pthread_join(start(dies_with_it, NULL), NULL);
    pthread_t holding = start(owner, NULL);
    pthread_barrier_wait(&held);
    if (is("abandoned")) pthread_join(holding, NULL);
    start(waiter, NULL);
    start(timed, NULL);
    ready();
    sleep_on();
}
