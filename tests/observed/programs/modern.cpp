/* C++: a cycle over std::mutex through inlined and templated code, a std::shared_mutex, a future, an atomic wait. */
#include "truth.h"
#include <atomic>
#include <condition_variable>
#include <future>
#include <latch>
#include <mutex>
#include <shared_mutex>
#include <thread>

namespace ledger {
struct Account {
    std::mutex guard;
    long balance = 0;
};

template <typename Amount>
__attribute__((noinline)) void transfer(Account &from, Account &to, Amount amount, std::latch &both) {
    std::lock_guard<std::mutex> first(from.guard);
    both.arrive_and_wait();
    std::lock_guard<std::mutex> second(to.guard);
    from.balance -= amount;
    to.balance += amount;
}
} // namespace ledger

int main() {
    live_with_input();
    thread_is("main");
    static ledger::Account alice, bob;
    static std::latch both(2);
    static std::shared_mutex shared;
    static std::atomic<int> word{0};
    static std::promise<int> promise;
    lock_is("alice", &alice.guard);
    lock_is("bob", &bob.guard);
    lock_is("shared", &shared);
    lock_is("word", &word);
    static std::latch held(2);
    std::thread([] { thread_is("alice"); ledger::transfer<long>(alice, bob, 5, both); }).detach();
    std::thread([] { thread_is("bob"); ledger::transfer<long>(bob, alice, 7, both); }).detach();
    std::thread([] {
        thread_is("writer");
        std::unique_lock<std::shared_mutex> lock(shared);
        held.count_down();
        sleep_on();
    }).detach();
    held.count_down();
    held.wait();
    std::thread([] { thread_is("reader"); std::shared_lock<std::shared_mutex> lock(shared); }).detach();
    std::thread([] { thread_is("atomic"); word.wait(0); }).detach();
    std::thread([] { thread_is("future"); promise.get_future().wait(); }).detach();
    both.wait();
    ready();
    sleep_on();
}
