/* Processes that are hard to look at: `leader_gone` (the main thread has ended), `traced` (a child under a tracer),
 * `mappings` (sixty thousand of them), `looping` (unwind information that leads in a circle), `execs` (the program
 * starts itself again and again), `hostile_name` (control bytes and HTML in a thread's name). */
#include "truth.h"
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

__attribute__((noinline)) void wait_here(void) {
    pthread_mutex_lock(&mutex);
    for (;;) pthread_cond_wait(&condition, &mutex);
}

static void *waits(void *with) {
    thread_is(with);
    wait_here();
    return NULL;
}

#if defined(__x86_64__)
/* Says that the caller's stack pointer is its own, and finds its own address as the return address. */
__asm__(".text\n"
        ".globl circle\n"
        ".type circle, @function\n"
        "circle:\n"
        ".cfi_startproc\n"
        ".cfi_def_cfa rsp, 0\n"
        ".cfi_offset rip, 0\n"
        "  lea 1f(%rip), %rax\n"
        "  push %rax\n"
        "  call pause@plt\n"
        "1: jmp 1b\n"
        ".cfi_endproc\n"
        ".size circle, .-circle\n");
extern void circle(void);
#else
static void circle(void) { wait_here(); }
#endif

static void *circles(void *with) {
    thread_is(with);
    circle();
    return NULL;
}

int main(int argc, char **argv) {
    const char *scene = argc > 1 ? argv[1] : "leader_gone";
    if (strcmp(scene, "execs") == 0) {
        if (argc < 3) {
            puts("ready");
            fflush(stdout);
        }
        /* Its input tells when to end: asked without waiting, since all threads go at an exec. */
        struct timespec moment = {0, 300000};
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        start(waits, argc < 3 ? "waits" : "again");
        nanosleep(&moment, NULL);
        execl("/proc/self/exe", argv[0], scene, "again", NULL);
        _exit(2);
    }
    live_with_input();
    if (strcmp(scene, "leader_gone") == 0) {
        thread_is("main");
        start(waits, "waits");
        ready();
        pthread_exit(NULL);
    } else if (strcmp(scene, "traced") == 0) {
        pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            ptrace(PTRACE_TRACEME, 0, NULL, NULL);
            raise(SIGSTOP);
            sleep_on();
        }
        waitpid(child, NULL, 0);
        printf("process child %d\n", (int)child);
    } else if (strcmp(scene, "mappings") == 0) {
        size_t pages = 60000;
        char *memory = mmap(NULL, pages * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return 2;
        for (size_t page = 0; page < pages; page += 2)
            if (mprotect(memory + page * 4096, 4096, PROT_READ | PROT_WRITE)) break;
        start(waits, "waits");
    } else if (strcmp(scene, "looping") == 0) {
        start(circles, "circles");
    } else if (strcmp(scene, "hostile_name") == 0) {
        thread_is("waits");
        prctl(PR_SET_NAME, "<b>\033[2J\n\"'\xff", 0, 0, 0);
    }
    ready();
    wait_here();
}
