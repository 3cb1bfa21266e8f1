/* Waits for something to be told: a thread at each of a condition, a timed one, a barrier, a semaphore, a
 * once-initialiser and the thread that runs it. */
#include "truth.h"
#include <semaphore.h>
#include <time.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pthread_cond_t timed_condition = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t semaphore;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_barrier_t in_once;

static void *at_condition(void *with) {
    (void)with;
    thread_is("condition");
    pthread_mutex_lock(&mutex);
    for (;;) pthread_cond_wait(&condition, &mutex);
}

static void *at_timed_condition(void *with) {
    (void)with;
    thread_is("timed");
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 3600;
    pthread_mutex_lock(&mutex);
    for (;;) pthread_cond_timedwait(&timed_condition, &mutex, &until);
}

static void *at_barrier(void *with) {
    (void)with;
    thread_is("barrier");
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void *at_semaphore(void *with) {
    (void)with;
    thread_is("semaphore");
    sem_wait(&semaphore);
    return NULL;
}

static void initialise(void) {
    pthread_barrier_wait(&in_once);
    sleep_on();
}

static void *initialiser(void *with) {
    (void)with;
    thread_is("initialiser");
    pthread_once(&once, initialise);
    return NULL;
}

static void *at_once(void *with) {
    (void)with;
    thread_is("once");
    pthread_once(&once, initialise);
    return NULL;
}

int main(void) {
    live_with_input();
    pthread_barrier_init(&barrier, NULL, 2);
    pthread_barrier_init(&in_once, NULL, 2);
    sem_init(&semaphore, 0, 0);
    thread_is("main");
    lock_is("condition", &condition);
    lock_is("timed", &timed_condition);
    lock_is("barrier", &barrier);
    lock_is("semaphore", &semaphore);
    lock_is("once", &once);
    start(at_condition, NULL);
    start(at_timed_condition, NULL);
    start(at_barrier, NULL);
    start(at_semaphore, NULL);
    start(initialiser, NULL);
    pthread_barrier_wait(&in_once);
    start(at_once, NULL);
    ready();
    sleep_on();
}
