/* Joins that never end. `ring`: three threads that join each other (glibc refuses a ring of two itself).
 * `mutex`: "owner" holds a mutex and joins "worker", who wants it. `chain`: main's helper joins one that sleeps. */
#include "truth.h"

static pthread_t ring[3];
static pthread_barrier_t known;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_t worker_thread;

static void *member(void *with) {
    long at = (long)with;
    char name[16];
    snprintf(name, sizeof name, "member-%ld", at);
    thread_is(name);
    pthread_barrier_wait(&known);
    pthread_join(ring[(at + 1) % 3], NULL);
    return NULL;
}

static void *worker(void *with) {
    (void)with;
    thread_is("worker");
    pthread_mutex_lock(&mutex);
    return NULL;
}

static void *sleeper(void *with) {
    (void)with;
    thread_is("sleeper");
    sleep_on();
    return NULL;
}

static void *owner(void *with) {
    thread_is("owner");
    pthread_mutex_lock(&mutex);
    worker_thread = start(with ? sleeper : worker, NULL);
    pthread_barrier_wait(&known);
    pthread_join(worker_thread, NULL);
    return NULL;
}

int main(int argc, char **argv) {
    live_with_input();
    const char *scene = argc > 1 ? argv[1] : "ring";
    thread_is("main");
    lock_is("mutex", &mutex);
    if (strcmp(scene, "ring") == 0) {
        pthread_barrier_init(&known, NULL, 4);
        for (long at = 0; at < 3; at++) ring[at] = start(member, (void *)at);
    } else {
        pthread_barrier_init(&known, NULL, 2);
        start(owner, strcmp(scene, "chain") == 0 ? "chain" : NULL);
    }
    pthread_barrier_wait(&known);
    ready();
    sleep_on();
}
