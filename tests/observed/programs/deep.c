/* Many threads (`deep N [KIND]`) that are blocked five calls deep. Built with and without frame pointers. KIND:
 * `mixed` (the default) spreads them over condition, semaphore, nanosleep, read, poll, and the raw system call;
 * `same` puts all at one condition; `locks` at one mutex that main holds. */
#include "truth.h"
#include <linux/futex.h>
#include <poll.h>
#include <semaphore.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t wanted = PTHREAD_MUTEX_INITIALIZER;
static sem_t semaphore;
static int never[2];
static int word;
/* Not constant, so that calls stay calls; written by each level, so that none is a tail call. */
static volatile long depth_seen;

#define LEVEL(name, next)                                                       \
    __attribute__((noinline)) long name(long how) {                             \
        volatile char here[32 + sizeof #name];                                  \
        here[0] = (char)how;                                                    \
        long below = next(how + here[0] - (char)how);                           \
        depth_seen = below;                                                     \
        return below + here[0];                                                 \
    }

__attribute__((noinline)) long level_five(long how) {
    struct timespec long_time = {3600, 0};
    struct pollfd none = {never[0], POLLIN, 0};
    char byte;
    switch (how) {
    case 0:
        pthread_mutex_lock(&mutex);
        for (;;) pthread_cond_wait(&condition, &mutex);
    case 1: sem_wait(&semaphore); break;
    case 2: nanosleep(&long_time, NULL); break;
    case 3: (void)!read(never[0], &byte, 1); break;
    case 4: poll(&none, 1, -1); break;
    case 5: syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0); break;
    default: pthread_mutex_lock(&wanted); break;
    }
    depth_seen = how;
    return how;
}
LEVEL(level_four, level_five)
LEVEL(level_three, level_four)
LEVEL(level_two, level_three)
LEVEL(level_one, level_two)

static void *body(void *with) {
    depth_seen = level_one((long)with);
    return NULL;
}

int main(int argc, char **argv) {
    live_with_input();
    long count = argc > 1 ? atol(argv[1]) : 12;
    const char *kind = argc > 2 ? argv[2] : "mixed";
    if (pipe(never)) return 2;
    sem_init(&semaphore, 0, 0);
    pthread_mutex_lock(&wanted);
    thread_is("main");
    lock_is("condition", &condition);
    lock_is("wanted", &wanted);
    for (long at = 0; at < count; at++) {
        long how = strcmp(kind, "mixed") == 0 ? at % 6 : strcmp(kind, "locks") == 0 ? 6 : 0;
        start(body, (void *)how);
    }
    ready();
    sleep_on();
}
