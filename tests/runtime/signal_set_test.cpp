// signal_set: signals as something a task awaits.
#include "support/co_test.hpp"

#include <sapwood/signal_set.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <csignal>
#include <system_error>
#include <unistd.h>

namespace {

using sapwood::signal_set;
using sapwood::task;

task<int> next(signal_set& signals) {
    co_return co_await signals.next();
}

bool is_blocked(int signal) {
    sigset_t blocked{};
    ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
    return ::sigismember(&blocked, signal) == 1;
}

} // namespace

TEST_SUITE("signal_set") {

    CO_TEST_CASE("a signal that comes while a task waits wakes it with its number") {
        signal_set signals({SIGUSR1, SIGUSR2});
        auto waiter = sapwood::spawn(next(signals));
        co_await sapwood::yield();
        co_await sapwood::yield();
        CHECK_FALSE(waiter.done());
        ::kill(::getpid(), SIGUSR2);
        CHECK(co_await waiter == SIGUSR2);
    }

    CO_TEST_CASE("signals that came before anybody waited are not lost") {
        signal_set signals({SIGUSR1, SIGUSR2});
        ::kill(::getpid(), SIGUSR1);
        ::kill(::getpid(), SIGUSR2);
        const int first = co_await signals.next();
        const int second = co_await signals.next();
        CHECK(first + second == SIGUSR1 + SIGUSR2);
        CHECK(first != second);
    }

    CO_TEST_CASE("who waits for a signal can be cancelled, and the next one is not lost") {
        signal_set signals({SIGUSR1});
        auto waiter = sapwood::spawn(next(signals));
        co_await sapwood::yield();
        co_await sapwood::yield();
        waiter.cancel();
        CHECK_THROWS_AS((void)co_await waiter, sapwood::cancelled);
        ::kill(::getpid(), SIGUSR1);
        CHECK(co_await signals.next() == SIGUSR1);
    }

    TEST_CASE("signals are blocked while the set exists and as before afterwards") {
        CHECK_FALSE(is_blocked(SIGUSR1));
        {
            const signal_set signals({SIGUSR1});
            CHECK(is_blocked(SIGUSR1));
            CHECK_FALSE(is_blocked(SIGUSR2));
        }
        CHECK_FALSE(is_blocked(SIGUSR1));
    }

    TEST_CASE("a signal that nobody awaited does not strike when the set is gone") {
        {
            const signal_set signals({SIGUSR1});
            ::kill(::getpid(), SIGUSR1);
        }
        // SIGUSR1 would have ended the process.
        sigset_t pending{};
        ::sigpending(&pending);
        CHECK(::sigismember(&pending, SIGUSR1) == 0);
    }

    TEST_CASE("what is no signal is refused by its number") {
        CHECK_THROWS_WITH_AS(signal_set({12345}), doctest::Contains("12345 is no signal"),
                             std::system_error);
        CHECK_THROWS_WITH_AS(signal_set({SIGTERM, SIGKILL}), doctest::Contains("take in signal 9"),
                             std::system_error);
        CHECK_FALSE(is_blocked(SIGTERM));
    }
}
