/* N threads in a ring: each holds its own mutex and wants the next one's. One alone wants what it holds. */
#include "truth.h"

enum { MOST = 16 };
static pthread_mutex_t ring[MOST];
static pthread_barrier_t all_hold;
static int members;

__attribute__((noinline)) static void take_the_next(int at) {
    pthread_mutex_lock(&ring[(at + 1) % members]);
    __asm__ volatile("");
}

static void *member(void *with) {
    int at = (int)(long)with;
    char name[16];
    snprintf(name, sizeof name, "member-%d", at);
    thread_is(name);
    pthread_mutex_lock(&ring[at]);
    pthread_barrier_wait(&all_hold);
    take_the_next(at);
    return NULL;
}

int main(int argc, char **argv) {
    live_with_input();
    members = argc > 1 ? atoi(argv[1]) : 2;
    pthread_barrier_init(&all_hold, NULL, members + 1);
    for (int at = 0; at < members; at++) {
        char name[16];
        snprintf(name, sizeof name, "ring-%d", at);
        pthread_mutex_init(&ring[at], NULL);
        lock_is(name, &ring[at]);
        start(member, (void *)(long)at);
    }
    thread_is("main");
    pthread_barrier_wait(&all_hold);
    ready();
    sleep_on();
}
