/* N threads that compute, three calls deep, and never wait. */
#include "truth.h"

static volatile unsigned long sum;

__attribute__((noinline)) void spin_inside(void) {
    for (;;) sum++;
}
__attribute__((noinline)) void spin_middle(void) {
    spin_inside();
    sum--;
}
static void *spin_outside(void *with) {
    thread_is(with);
    spin_middle();
    sum--;
    return NULL;
}

int main(int argc, char **argv) {
    live_with_input();
    thread_is("main");
    for (int at = 0; at < (argc > 1 ? atoi(argv[1]) : 1); at++) start(spin_outside, "busy");
    ready();
    sleep_on();
}
