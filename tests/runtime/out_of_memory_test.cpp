// operator new fails at its first, second, third, ... call: every failure is an exception at the
// call that needed memory, and nothing leaks.
#include "support/allocations.hpp"
#include "support/conduit.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/file.hpp>
#include <sapwood/remote_sender.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/tcp.hpp>
#include <sapwood/when_all.hpp>

#include <doctest/doctest.h>
#include <functional>
#include <new>
#include <optional>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::task;
using sapwood::test::allocations_alive;
using sapwood::test::failing_allocations;

struct sweep {
    int failures = 0;
    std::ptrdiff_t leaked = 0;
    bool ended_well = false;
};

/// What `body` uses besides its own locals: it outlives the tasks that are cancelled in the end.
struct world {
    sapwood::channel<int> queue{2};
    std::vector<int> out;
};

/// Runs `body` with the first, then the second, ... allocation failing until none fails any more.
/// Each time on a new thread, whose frame pool is empty.
sweep run_failing(const std::function<task<>(world&)>& body) {
    sweep outcome;
    for (std::size_t nth = 1; !outcome.ended_well; ++nth) {
        bool struck = false;
        const auto before = allocations_alive();
        std::thread([&] {
            sapwood::loop_options options;
            options.on_unhandled_exception = [](const std::exception_ptr&) {};
            sapwood::event_loop loop(options);
            world shared;
            const failing_allocations failing(nth);
            try {
                loop.run(body(shared));
            } catch (const std::bad_alloc&) {
                ++outcome.failures;
            }
            struck = failing.struck();
        }).join();
        outcome.leaked += allocations_alive() - before;
        outcome.ended_well = !struck;
    }
    return outcome;
}

} // namespace

TEST_SUITE("out_of_memory") {

    TEST_CASE("awaiting, spawning and sleeping throw bad_alloc and leak nothing") {
        auto child = [](int value) -> task<int> {
            co_await sapwood::sleep_for(1us);
            co_return value;
        };
        const auto outcome = run_failing([&](world&) -> task<> {
            std::vector<sapwood::join_handle<int>> handles;
            for (int i = 0; i < 10; ++i) {
                handles.push_back(sapwood::spawn(child(i)));
            }
            for (auto& handle : handles) {
                (void)co_await handle;
            }
            (void)co_await child(1);
        });
        CHECK(outcome.ended_well);
        CHECK(outcome.failures >= 20);
        CHECK(outcome.leaked == 0);
    }

    TEST_CASE("channels throw bad_alloc where they are made or filled, and keep their items") {
        int lost = 0;
        auto sender = [](world& shared, int item) -> task<> { co_await shared.queue.send(item); };
        const auto outcome = run_failing([&](world& shared) -> task<> {
            sapwood::channel<int> another(8);
            (void)another.try_send(1);
            for (int i = 0; i < 4; ++i) {
                sapwood::spawn(sender(shared, i)).detach();
            }
            std::vector<int> out;
            std::size_t received = 0;
            bool failed = false;
            while (received < 4) {
                try {
                    received = 0;
                    (void)co_await shared.queue.receive_many(out, 4);
                    received = out.size();
                } catch (const std::bad_alloc&) {
                    failed = true;
                    break;
                }
            }
            if (failed) {
                // Whatever did not fit is still in the channel, in order.
                int next = static_cast<int>(out.size());
                while (const auto item = shared.queue.try_receive()) {
                    lost += *item == next++ ? 0 : 1;
                }
                throw std::bad_alloc();
            }
        });
        CHECK(outcome.ended_well);
        CHECK(outcome.failures >= 5);
        CHECK(outcome.leaked == 0);
        CHECK(lost == 0);
    }

    TEST_CASE("accepting and receiving throw bad_alloc and leak nothing") {
        const auto descriptors = sapwood::test::open_descriptors();
        const auto outcome = run_failing([&](world&) -> task<> {
            sapwood::tcp_listener listener(sapwood::endpoint("127.0.0.1", 0));
            auto client = co_await sapwood::tcp_stream::connect(listener.local_endpoint());
            auto server = co_await listener.accept();
            co_await client.write_all(std::string_view("abc"));
            const auto piece = co_await server.receive();
            CHECK(piece.text() == "abc");
            co_await server.close();
            co_await listener.close();
        });
        CHECK(outcome.ended_well);
        CHECK(outcome.failures >= 5);
        CHECK(outcome.leaked == 0);
        CHECK(sapwood::test::open_descriptors() == descriptors);
    }

    TEST_CASE("a file whose close finds no memory is closed") {
        const auto descriptors = sapwood::test::open_descriptors();
        const auto outcome = run_failing([&](world&) -> task<> {
            auto file = co_await sapwood::file::open("/etc/passwd");
            const auto closed = co_await sapwood::as_result(file.close());
            if (!closed || closed.error() == std::errc::not_enough_memory) {
                throw std::bad_alloc();
            }
        });
        CHECK(outcome.ended_well);
        CHECK(sapwood::test::open_descriptors() == descriptors);
    }

    TEST_CASE("when_all, files and remote senders throw bad_alloc and leak nothing") {
        auto child = []() -> task<int> {
            co_await sapwood::yield();
            co_return 1;
        };
        const auto outcome = run_failing([&](world& shared) -> task<> {
            const auto [first, second] = co_await sapwood::when_all(child(), child());
            std::vector<task<int>> tasks;
            for (int i = 0; i < first + second; ++i) {
                tasks.push_back(child());
            }
            (void)co_await sapwood::when_all(std::move(tasks));
            auto null = co_await sapwood::file::open(
                "/dev/../dev/../dev/../dev/../dev/../dev/../dev/../dev/null");
            (void)co_await null.stat();
            sapwood::remote_sender<int> door(shared.queue, 4);
            (void)door.try_send(1);
            co_await sapwood::yield();
            (void)co_await shared.queue.receive();
        });
        CHECK(outcome.ended_well);
        CHECK(outcome.failures >= 10);
        CHECK(outcome.leaked == 0);
    }
}
