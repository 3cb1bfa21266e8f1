/* One read-write lock: `writer_behind_readers` (two of them), `reader_behind_writer`, `writer_behind_writer`, or
 * `reader_behind_waiting_writer` (writers preferred: a reader holds it, a writer waits, a second reader waits too). */
#include "truth.h"

static pthread_rwlock_t lock;
static pthread_barrier_t held;

static void *reading(void *with) {
    thread_is(with);
    pthread_rwlock_rdlock(&lock);
    pthread_barrier_wait(&held);
    sleep_on();
    return NULL;
}

static void *writing(void *with) {
    thread_is(with);
    pthread_rwlock_wrlock(&lock);
    pthread_barrier_wait(&held);
    sleep_on();
    return NULL;
}

static void *wants_to_read(void *with) {
    thread_is(with);
    pthread_rwlock_rdlock(&lock);
    return NULL;
}

static void *wants_to_write(void *with) {
    thread_is(with);
    pthread_rwlock_wrlock(&lock);
    return NULL;
}

int main(int argc, char **argv) {
    live_with_input();
    const char *scene = argc > 1 ? argv[1] : "writer_behind_readers";
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    int preferred = strcmp(scene, "reader_behind_waiting_writer") == 0;
    if (preferred) pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&lock, &attributes);
    lock_is("lock", &lock);
    thread_is("main");
    if (strcmp(scene, "writer_behind_readers") == 0) {
        pthread_barrier_init(&held, NULL, 3);
        start(reading, "reader-0");
        start(reading, "reader-1");
        pthread_barrier_wait(&held);
        start(wants_to_write, "waiter");
    } else if (preferred) {
        pthread_barrier_init(&held, NULL, 2);
        start(reading, "reader-0");
        pthread_barrier_wait(&held);
        start(wants_to_write, "writer");
        /* The writer must have announced itself in the lock before the reader comes. */
        while ((*(volatile unsigned *)&lock & 2) == 0 && ((volatile unsigned *)&lock)[1] == 0) usleep(1000);
        start(wants_to_read, "waiter");
    } else {
        pthread_barrier_init(&held, NULL, 2);
        start(writing, "owner");
        pthread_barrier_wait(&held);
        start(strcmp(scene, "reader_behind_writer") == 0 ? wants_to_read : wants_to_write, "waiter");
    }
    ready();
    sleep_on();
}
