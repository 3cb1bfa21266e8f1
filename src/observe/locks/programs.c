/* Threads that wait at locks of every kind. Each is named for what it waits at; the lines printed are the truth:
   "name address owner", the owner being a thread's id as the program sees it, 0 for none. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int tid(void) { return (int)syscall(SYS_gettid); }
static void say(const char *name, const void *address, int owner) {
    printf("%s %p %d\n", name, address, owner);
    fflush(stdout);
}

struct job {
    const char *name;
    void *(*run)(void *);
    void *object;
    int other;
};
static void *start(void *given) {
    struct job *job = given;
    pthread_setname_np(pthread_self(), job->name);
    job->run(job->object);
    return 0;
}
static pthread_t spawn(const char *name, void *(*run)(void *), void *object) {
    struct job *job = malloc(sizeof *job);
    *job = (struct job){name, run, object, 0};
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 128 << 10);
    if (pthread_create(&thread, &small, start, job)) exit(2);
    return thread;
}

static void *lock(void *mutex) { pthread_mutex_lock(mutex); return 0; }
static void *lock_twice(void *mutex) { pthread_mutex_lock(mutex); pthread_mutex_lock(mutex); return 0; }
static struct timespec late(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    now.tv_sec += 10000;
    return now;
}
static void *lock_timed(void *mutex) { struct timespec then = late(); pthread_mutex_timedlock(mutex, &then); return 0; }
static void *read_lock(void *rwlock) { pthread_rwlock_rdlock(rwlock); return 0; }
static void *write_lock(void *rwlock) { pthread_rwlock_wrlock(rwlock); return 0; }
static void *read_and_stay(void *rwlock) { pthread_rwlock_rdlock(rwlock); pause(); return 0; }
static void *wait_cond(void *cond) {
    pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&mine);
    pthread_cond_wait(cond, &mine);
    return 0;
}
static void *wait_cond_timed(void *cond) {
    pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER;
    struct timespec then = late();
    pthread_mutex_lock(&mine);
    pthread_cond_timedwait(cond, &mine, &then);
    return 0;
}
static void *wait_sem(void *semaphore) { sem_wait(semaphore); return 0; }
static void *wait_barrier(void *barrier) { pthread_barrier_wait(barrier); return 0; }
static void *join(void *thread) { pthread_join(*(pthread_t *)thread, 0); return 0; }
static void once_body(void) { pause(); }
static pthread_once_t once_control = PTHREAD_ONCE_INIT;
static void *run_once(void *unused) { pthread_once(&once_control, once_body); return 0; }
static void *put(void *file) { fputs("x", file); return 0; }

static pthread_mutex_t normal, recursive, error_checking, adaptive, robust, inheriting, shared, robust_checking;
static pthread_mutex_t abandoned, self, handed = PTHREAD_MUTEX_INITIALIZER;
static pthread_rwlock_t behind_readers = PTHREAD_RWLOCK_INITIALIZER, behind_writer = PTHREAD_RWLOCK_INITIALIZER, preferring;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER, used_cond = PTHREAD_COND_INITIALIZER, relock_cond = PTHREAD_COND_INITIALIZER;
static pthread_mutex_t used_mutex = PTHREAD_MUTEX_INITIALIZER;
static int used_turn;
static sem_t semaphore, ready;
static pthread_barrier_t barrier;
static FILE *file;
static pthread_mutex_t *on_heap, *on_shared;

static void make(pthread_mutex_t *mutex, int type, int is_robust, int protocol, int is_shared) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, type);
    if (is_robust) pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setprotocol(&attributes, protocol);
    if (is_shared) pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (pthread_mutex_init(mutex, &attributes)) exit(3);
}
static void make_all(void) {
    make(&normal, PTHREAD_MUTEX_NORMAL, 0, 0, 0);
    make(&recursive, PTHREAD_MUTEX_RECURSIVE, 0, 0, 0);
    make(&error_checking, PTHREAD_MUTEX_ERRORCHECK, 0, 0, 0);
    make(&adaptive, PTHREAD_MUTEX_ADAPTIVE_NP, 0, 0, 0);
    make(&robust, PTHREAD_MUTEX_NORMAL, 1, 0, 0);
    make(&inheriting, PTHREAD_MUTEX_NORMAL, 0, PTHREAD_PRIO_INHERIT, 0);
    make(&shared, PTHREAD_MUTEX_NORMAL, 0, 0, 1);
    make(&robust_checking, PTHREAD_MUTEX_ERRORCHECK, 1, 0, 1);
}

static void *hold_all(void *unused) {
    pthread_mutex_t on_stack = PTHREAD_MUTEX_INITIALIZER;
    struct { const char *name; pthread_mutex_t *mutex; } all[] = {
        {"normal", &normal}, {"recursive", &recursive}, {"error_checking", &error_checking}, {"adaptive", &adaptive},
        {"robust", &robust}, {"inheriting", &inheriting}, {"shared", &shared}, {"robust_check", &robust_checking},
        {"heap", on_heap}, {"shared_memory", on_shared}, {"stack", &on_stack}};
    for (int at = 0; at < (int)(sizeof all / sizeof *all); at++) {
        pthread_mutex_lock(all[at].mutex);
        say(all[at].name, all[at].mutex, tid());
        spawn(all[at].name, lock, all[at].mutex);
    }
    say("timed", &normal, tid());
    spawn("timed", lock_timed, &normal);
    sem_post(&ready);
    pause();
    return 0;
}
static void mutexes(void) {
    make_all();
    on_heap = malloc(sizeof *on_heap);
    on_shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    make(on_heap, PTHREAD_MUTEX_NORMAL, 0, 0, 0);
    make(on_shared, PTHREAD_MUTEX_NORMAL, 0, 0, 1);
    spawn("holder", hold_all, 0);
    sem_wait(&ready);
    make(&self, PTHREAD_MUTEX_NORMAL, 0, 0, 0);
    spawn("self", lock_twice, &self);
    while (!*(volatile int *)((char *)&self + 8)) sched_yield();
    say("self", &self, *(volatile int *)((char *)&self + 8));
}

static void *hold_file(void *unused) {
    flockfile(file);
    say("stdio", file, tid());
    sem_post(&ready);
    pause();
    return 0;
}
static void *write_and_stay(void *rwlock) {
    pthread_rwlock_wrlock(rwlock);
    say("reader", rwlock, tid());
    say("writer", rwlock, tid());
    sem_post(&ready);
    pause();
    return 0;
}
static void *take_turns(void *turn) {
    pthread_mutex_lock(&used_mutex);
    for (int round = 0; round < 1000; round++) {
        while (used_turn % 2 != (int)(long)turn) pthread_cond_wait(&used_cond, &used_mutex);
        used_turn++;
        pthread_cond_broadcast(&used_cond);
    }
    pthread_mutex_unlock(&used_mutex);
    return 0;
}
static void *relock(void *unused) {
    pthread_mutex_lock(&handed);
    sem_post(&ready);
    pthread_cond_wait(&relock_cond, &handed);
    return 0;
}
static void *hold_handed(void *unused) {
    pthread_mutex_lock(&handed);
    pthread_cond_signal(&relock_cond);
    say("relock", &handed, tid());
    sem_post(&ready);
    pause();
    return 0;
}
static void *sleep_named(void *given) {
    struct job *job = given;
    *(volatile int *)&job->other = tid();
    pause();
    return 0;
}
static void others(void) {
    pthread_rwlock_rdlock(&behind_readers);
    spawn("a-reader", read_and_stay, &behind_readers);
    while ((*(volatile unsigned *)&behind_readers >> 3) != 2) sched_yield();
    say("after_readers", &behind_readers, 0);
    spawn("after_readers", write_lock, &behind_readers);

    spawn("a-writer", write_and_stay, &behind_writer);
    sem_wait(&ready);
    spawn("reader", read_lock, &behind_writer);
    spawn("writer", write_lock, &behind_writer);

    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&preferring, &attributes);
    pthread_rwlock_rdlock(&preferring);
    say("prefer_writer", &preferring, 0);
    spawn("prefer_writer", write_lock, &preferring);
    while (!(*(volatile unsigned *)&preferring & 2)) sched_yield();
    say("prefer_reader", &preferring, 0);
    spawn("prefer_reader", read_lock, &preferring);

    say("cond", &cond, 0);
    spawn("cond", wait_cond, &cond);
    say("cond_timed", &cond, 0);
    spawn("cond_timed", wait_cond_timed, &cond);
    pthread_t turns[2] = {spawn("turns", take_turns, (void *)0), spawn("turns", take_turns, (void *)1)};
    pthread_join(turns[0], 0);
    pthread_join(turns[1], 0);
    say("used_cond", &used_cond, 0);
    spawn("used_cond", wait_cond, &used_cond);
    spawn("relock", relock, 0);
    sem_wait(&ready);
    spawn("hold_handed", hold_handed, 0);
    sem_wait(&ready);

    say("semaphore", &semaphore, 0);
    spawn("semaphore", wait_sem, &semaphore);
    pthread_barrier_init(&barrier, 0, 3);
    say("barrier", &barrier, 0);
    spawn("barrier", wait_barrier, &barrier);
    spawn("barrier", wait_barrier, &barrier);
    spawn("runs-once", run_once, 0);
    while (!(*(volatile int *)&once_control & 1)) sched_yield();
    say("once", &once_control, 0);
    spawn("once", run_once, 0);

    static struct job target;
    static pthread_t joined;
    joined = spawn("joined", sleep_named, &target);
    while (!*(volatile int *)&target.other) sched_yield();
    say("join", (void *)joined, target.other);
    spawn("join", join, &joined);

    file = fopen("/dev/null", "w");
    spawn("hold_file", hold_file, 0);
    sem_wait(&ready);
    spawn("stdio", put, file);
}

static void *lock_and_end(void *mutex) {
    pthread_mutex_lock(mutex);
    say("abandoned", mutex, tid());
    return 0;
}
static void abandon(void) {
    pthread_join(spawn("ends", lock_and_end, &abandoned), 0);
    spawn("abandoned", lock, &abandoned);
}

static void *lock_and_stay(void *mutex) {
    pthread_mutex_lock(mutex);
    say("inherited", mutex, tid());
    sem_post(&ready);
    pause();
    return 0;
}
static void inherit(void) {
    spawn("holder", lock_and_stay, &normal);
    sem_wait(&ready);
    pid_t child = fork();
    if (child) {
        say("child", 0, child);
        return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    spawn("inherited", lock, &normal);
    pause();
}

static void files(const char *path) {
    int descriptor = open(path, O_RDWR | O_CREAT, 0600);
    if (flock(descriptor, LOCK_EX)) exit(4);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(descriptor, F_SETLK, &whole)) exit(5);
    int children[2];
    for (int which = 0; which < 2; which++) {
        pid_t parent = getpid();
        children[which] = fork();
        if (children[which]) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        int own = open(path, O_RDWR);
        if (which) flock(own, LOCK_EX); else fcntl(own, F_SETLKW, &whole);
        _exit(getppid() == parent);
    }
    say("posix", 0, children[0]);
    say("flock", 0, children[1]);
}

int main(int argc, char **argv) {
    sem_init(&semaphore, 0, 0);
    sem_init(&ready, 0, 0);
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "mutexes")) mutexes();
    else if (!strcmp(what, "others")) others();
    else if (!strcmp(what, "abandon")) abandon();
    else if (!strcmp(what, "inherit")) inherit();
    else if (!strcmp(what, "files")) files(argv[2]);
    else if (!strcmp(what, "many")) {
        pthread_mutex_lock(&normal);
        for (int count = atoi(argv[2]); count > 0; count--) spawn("many", lock, &normal);
    } else return 1;
    puts("ready");
    fflush(stdout);
    char byte;
    return (int)read(0, &byte, 1);
}
