/* What each program here does beside its own scene: it tells the truth about itself, one `name value` a line
 * (`thread owner 4711`, `lock first 7ffd…`), then `ready`, and it ends when its standard input does, so that
 * none is left over. The tests wait until all threads that were told stand still. */
#ifndef TRUTH_H
#define TRUTH_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int own_tid(void) { return (int)syscall(SYS_gettid); }

/* Names the calling thread for the kernel and for the test. */
static inline void thread_is(const char *name) {
    prctl(PR_SET_NAME, name, 0, 0, 0);
    printf("thread %s %d\n", name, own_tid());
    fflush(stdout);
}

static inline void lock_is(const char *name, const volatile void *at) {
    printf("lock %s %lx\n", name, (unsigned long)at);
    fflush(stdout);
}

static inline void ready(void) {
    puts("ready");
    fflush(stdout);
}

static void *end_with_input(void *unused) {
    char byte;
    (void)unused;
    prctl(PR_SET_NAME, "end_with_input", 0, 0, 0);
    while (read(0, &byte, 1) > 0) {
    }
    _exit(0);
}

static inline pthread_t start(void *(*body)(void *), void *with) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 << 10);
    int error = pthread_create(&thread, &attributes, body, with);
    if (error) {
        fprintf(stderr, "no further thread: %s\n", strerror(error));
        _exit(2);
    }
    return thread;
}

/* The first line of every main. */
static inline void live_with_input(void) { pthread_detach(start(end_with_input, NULL)); }

static inline void sleep_on(void) {
    for (;;) pause();
}

#endif
