/* Busy and sound: threads that take two of eight mutexes (always in one order), a read-write lock, a queue with
 * condition variables and a semaphore, and that start and join others, as fast as they can. Nothing here ever
 * deadlocks; whoever sees a deadlock in it is wrong. Tells `count N` of what was done when asked by a line. */
#include "truth.h"
#include <semaphore.h>

enum { LOCKS = 8, QUEUE = 4 };
static pthread_mutex_t locks[LOCKS];
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER, not_full = PTHREAD_COND_INITIALIZER;
static int queued;
static sem_t tokens;
static unsigned long done;

static void did(void) { __atomic_add_fetch(&done, 1, __ATOMIC_RELAXED); }

static void *transfers(void *with) {
    unsigned seed = (unsigned)(long)with;
    thread_is("transfers");
    for (;;) {
        unsigned one = rand_r(&seed) % LOCKS, other = rand_r(&seed) % LOCKS;
        if (one == other) continue;
        unsigned low = one < other ? one : other, high = one < other ? other : one;
        pthread_mutex_lock(&locks[low]);
        pthread_mutex_lock(&locks[high]);
        for (volatile int spin = 0; spin < 200; spin++) {
        }
        if (rand_r(&seed) % 64 == 0) usleep(100);
        pthread_mutex_unlock(&locks[high]);
        pthread_mutex_unlock(&locks[low]);
        did();
    }
}

static void *reads_and_writes(void *with) {
    unsigned seed = (unsigned)(long)with;
    thread_is("reads_writes");
    for (;;) {
        if (rand_r(&seed) % 8 == 0)
            pthread_rwlock_wrlock(&rwlock);
        else
            pthread_rwlock_rdlock(&rwlock);
        if (rand_r(&seed) % 32 == 0) usleep(100);
        pthread_rwlock_unlock(&rwlock);
        did();
    }
}

static void *puts_in(void *with) {
    (void)with;
    thread_is("puts_in");
    for (;;) {
        pthread_mutex_lock(&queue_lock);
        while (queued == QUEUE) pthread_cond_wait(&not_full, &queue_lock);
        queued++;
        pthread_cond_signal(&not_empty);
        pthread_mutex_unlock(&queue_lock);
        sem_post(&tokens);
        did();
    }
}

static void *takes_out(void *with) {
    (void)with;
    thread_is("takes_out");
    for (;;) {
        sem_wait(&tokens);
        pthread_mutex_lock(&queue_lock);
        while (queued == 0) pthread_cond_wait(&not_empty, &queue_lock);
        queued--;
        pthread_cond_signal(&not_full);
        pthread_mutex_unlock(&queue_lock);
        did();
    }
}

static void *short_life(void *with) {
    pthread_mutex_lock(&locks[(long)with % LOCKS]);
    usleep(500);
    pthread_mutex_unlock(&locks[(long)with % LOCKS]);
    return NULL;
}

static void *starts_and_joins(void *with) {
    (void)with;
    thread_is("starts_joins");
    for (long at = 0;; at++) {
        pthread_join(start(short_life, (void *)at), NULL);
        did();
    }
}

int main(void) {
    live_with_input();
    thread_is("main");
    for (int at = 0; at < LOCKS; at++) pthread_mutex_init(&locks[at], NULL);
    sem_init(&tokens, 0, 0);
    for (long at = 0; at < 6; at++) start(transfers, (void *)(at + 1));
    for (long at = 0; at < 4; at++) start(reads_and_writes, (void *)(at + 11));
    for (int at = 0; at < 2; at++) start(puts_in, NULL);
    for (int at = 0; at < 2; at++) start(takes_out, NULL);
    start(starts_and_joins, NULL);
    ready();
    unsigned long before = 0;
    for (;;) {
        sleep(1);
        unsigned long now = __atomic_load_n(&done, __ATOMIC_RELAXED);
        if (now == before) _exit(3);
        before = now;
    }
}
