// signal_set: signals as something a task awaits.
#include "support/co_test.hpp"
#include "support/scripted_ring.hpp"

#include <sapwood/signal_set.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <csignal>
#include <liburing.h>
#include <memory>
#include <optional>
#include <poll.h>
#include <system_error>
#include <unistd.h>
#include <vector>

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

    CO_TEST_CASE("a signal to the loop's own thread comes, too, before anybody waits and later") {
        signal_set signals({SIGUSR1});
        std::raise(SIGUSR1);
        CHECK(co_await signals.next() == SIGUSR1);
        auto waiter = sapwood::spawn(next(signals));
        co_await sapwood::yield();
        co_await sapwood::yield();
        std::raise(SIGUSR1);
        CHECK(co_await waiter == SIGUSR1);
    }

    TEST_CASE("signals are read on the loop's own thread: others do not see what is sent to it") {
        auto made = std::make_unique<sapwood::test::scripted_ring>();
        made->answer = [](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
            if (sqe.opcode != IORING_OP_POLL_ADD) {
                return std::nullopt; // for a read a worker waits, which has signals of its own
            }
            pollfd asked{.fd = sqe.fd, .events = POLLIN, .revents = 0};
            return ::poll(&asked, 1, 0) == 1 ? std::optional(asked.revents) : std::nullopt;
        };
        sapwood::event_loop loop(std::move(made));
        auto body = []() -> task<> {
            signal_set signals({SIGUSR1});
            std::raise(SIGUSR1);
            CHECK(co_await signals.next() == SIGUSR1);
        };
        loop.run(body());
    }

    CO_TEST_CASE("of several that wait for a signal one gets it, and the others wait on") {
        signal_set signals({SIGUSR1});
        std::vector<sapwood::join_handle<int>> waiters;
        for (int i = 0; i < 3; ++i) {
            waiters.push_back(sapwood::spawn(next(signals)));
        }
        const auto count_done = [&] {
            return std::ranges::count_if(waiters, [](const auto& each) { return each.done(); });
        };
        for (int got = 1; got <= 3; ++got) {
            std::raise(SIGUSR1);
            while (count_done() < got) {
                co_await sapwood::yield();
            }
            for (int turn = 0; turn < 10; ++turn) {
                co_await sapwood::yield();
            }
            CHECK(count_done() == got);
        }
        for (auto& each : waiters) {
            CHECK(co_await each == SIGUSR1);
        }
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
