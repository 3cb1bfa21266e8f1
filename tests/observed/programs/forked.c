/* A mutex that was held at a fork, by a thread that the child does not have. The child tells of itself with
 * `process child PID`; its only thread wants the mutex. */
#include "truth.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t held;

static void *owner(void *with) {
    (void)with;
    thread_is("owner");
    pthread_mutex_lock(&lock);
    pthread_barrier_wait(&held);
    sleep_on();
    return NULL;
}

int main(void) {
    live_with_input();
    thread_is("main");
    lock_is("lock", &lock);
    pthread_barrier_init(&held, NULL, 2);
    start(owner, NULL);
    pthread_barrier_wait(&held);
    int told[2];
    if (pipe(told)) return 2;
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        prctl(PR_SET_NAME, "heir", 0, 0, 0);
        close(told[0]);
        close(told[1]);
        pthread_mutex_lock(&lock);
        _exit(0);
    }
    close(told[1]);
    char byte;
    /* Ends once the child has closed its end: it has its name then. */
    (void)!read(told[0], &byte, 1);
    printf("process child %d\n", (int)child);
    ready();
    sleep_on();
}
