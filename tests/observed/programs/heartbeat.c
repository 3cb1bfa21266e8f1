/* Tells whether anyone stops it. Its main thread wakes each millisecond and keeps the largest gap; N more threads
 * are blocked five calls deep. For each line on its standard input it prints `gap NANOSECONDS`, the largest since
 * the last line, and begins anew. Blocked calls that were broken off (a stop does that) are counted: `broken N`. */
#include "truth.h"
#include <sys/epoll.h>
#include <time.h>

static unsigned long gap;
static unsigned long broken;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static volatile long kept;

__attribute__((noinline)) long level_five(long at) {
    if (at == 0) {
        /* A call that returns EINTR after a stop, whoever stops it and however shortly. */
        struct epoll_event event;
        int queue = epoll_create1(0);
        for (;;)
            if (epoll_wait(queue, &event, 1, -1) < 0) __atomic_add_fetch(&broken, 1, __ATOMIC_RELAXED);
    }
    pthread_mutex_lock(&mutex);
    for (;;) pthread_cond_wait(&condition, &mutex);
}
__attribute__((noinline)) long level_four(long at) { long r = level_five(at); kept = r; return r + 1; }
__attribute__((noinline)) long level_three(long at) { long r = level_four(at); kept = r; return r + 1; }
__attribute__((noinline)) long level_two(long at) { long r = level_three(at); kept = r; return r + 1; }
__attribute__((noinline)) long level_one(long at) { long r = level_two(at); kept = r; return r + 1; }

static void *body(void *with) {
    kept = level_one((long)with);
    return NULL;
}

static void *answer(void *with) {
    char line[64];
    (void)with;
    while (fgets(line, sizeof line, stdin)) {
        printf("gap %lu\nbroken %lu\n", __atomic_exchange_n(&gap, 0, __ATOMIC_RELAXED),
               __atomic_load_n(&broken, __ATOMIC_RELAXED));
        fflush(stdout);
    }
    _exit(0);
}

static unsigned long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (unsigned long)time.tv_sec * 1000000000UL + (unsigned long)time.tv_nsec;
}

int main(int argc, char **argv) {
    thread_is("main");
    for (long at = 0; at < (argc > 1 ? atol(argv[1]) : 8); at++) start(body, (void *)at);
    start(answer, NULL);
    ready();
    unsigned long last = now();
    struct timespec tick = {0, 1000000};
    for (;;) {
        nanosleep(&tick, NULL);
        unsigned long at = now(), seen = at - last;
        last = at;
        unsigned long most = __atomic_load_n(&gap, __ATOMIC_RELAXED);
        while (seen > most && !__atomic_compare_exchange_n(&gap, &most, seen, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        }
    }
}
