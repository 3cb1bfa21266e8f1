// Small programs whose locks go wrong in a known way, for the tests beside. Each prints the tids that matter, one
// line, and then stands (or works) until it is killed.
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 64

static pthread_mutex_t locks[MOST];
static pthread_barrier_t all;
static int count;
static int timed;
static int tids[MOST];

static int own_tid(void) { return (int)syscall(SYS_gettid); }

static void tell(void) {
    for (int n = 0; n < count; n++) printf("%d ", tids[n]);
    printf("\n");
    fflush(stdout);
}

static void stand(void) {
    for (;;) pause();
}

// Each holds its lock and wants the next one's.
static void *in_circle(void *number) {
    int own = (int)(long)number;
    tids[own] = own_tid();
    pthread_mutex_lock(&locks[own]);
    pthread_barrier_wait(&all);
    if (own == 0) tell();
    if (timed) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += 600;
        pthread_mutex_timedlock(&locks[(own + 1) % count], &until);
    } else {
        pthread_mutex_lock(&locks[(own + 1) % count]);
    }
    return NULL;
}

static void *wants_first(void *number) {
    int own = (int)(long)number;
    tids[own] = own_tid();
    pthread_barrier_wait(&all);
    pthread_mutex_lock(&locks[0]);
    pthread_mutex_unlock(&locks[0]);
    return NULL;
}

static void *ends_with_it(void *unused) {
    pthread_mutex_lock(&locks[0]);
    return unused;
}

// Takes locks in one order, all the time.
static unsigned long counters[MOST];
static void *healthy(void *number) {
    int own = (int)(long)number;
    for (unsigned long turn = 0;; turn++) {
        int first = (int)((turn + own) % 7), second = first + 1 + (int)(turn % 3);
        pthread_mutex_lock(&locks[first]);
        pthread_mutex_lock(&locks[second]);
        for (volatile int n = 0; n < 200; n++) counters[own]++;
        pthread_mutex_unlock(&locks[second]);
        pthread_mutex_unlock(&locks[first]);
    }
    return NULL;
}

static void start(void *(*routine)(void *), int threads) {
    for (int n = 0; n < threads; n++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, routine, (void *)(long)n) != 0) exit(3);
    }
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    const char *what = argv[1];
    count = atoi(argv[2]);
    if (count < 1 || count > MOST) return 2;
    alarm(120);
    for (int n = 0; n < MOST; n++) pthread_mutex_init(&locks[n], NULL);
    pthread_barrier_init(&all, NULL, (unsigned)count + (strcmp(what, "behind") == 0));
    timed = strcmp(what, "timed") == 0;
    if (strcmp(what, "circle") == 0 || timed) {
        start(in_circle, count);
        stand();
    } else if (strcmp(what, "behind") == 0) {
        // The main thread holds it and sleeps.
        pthread_mutex_lock(&locks[0]);
        start(wants_first, count);
        pthread_barrier_wait(&all);
        tell();
        for (;;) sleep(600);
    } else if (strcmp(what, "abandoned") == 0) {
        pthread_t owner;
        pthread_create(&owner, NULL, ends_with_it, NULL);
        pthread_join(owner, NULL);
        start(wants_first, count);
        stand();
    } else if (strcmp(what, "inherited") == 0) {
        pthread_mutex_lock(&locks[0]);
        pid_t child = fork();
        if (child == 0) {
            alarm(120);
            // The child's main thread has another tid than the one that the lock records.
            tids[0] = own_tid();
            tell();
            pthread_mutex_lock(&locks[0]);
            stand();
        }
        int status;
        waitpid(child, &status, 0);
    } else if (strcmp(what, "healthy") == 0) {
        start(healthy, count);
        tell();
        stand();
    }
    return 2;
}
