// timeout and deadline: who is told to stop, what is given, and whose `cancelled` it is.
#include "support/co_test.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/event.hpp>
#include <sapwood/file.hpp>
#include <sapwood/mutex.hpp>
#include <sapwood/poll.hpp>
#include <sapwood/shield.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task_group.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/when_all.hpp>

#include <memory>
#include <poll.h>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace {

using namespace std::chrono_literals;
using sapwood::as_result;
using sapwood::deadline;
using sapwood::event_loop;
using sapwood::sleep_for;
using sapwood::task;
using sapwood::timeout;

task<int> after(sapwood::clock::duration delay, int value) {
    co_await sleep_for(delay);
    co_return value;
}

/// Notes 'c' when it is told to stop, and 'e' when its cleanup, which waits, is over.
task<> wait_and_clean_up(std::string& how) {
    try {
        co_await sleep_for(24h);
    } catch (const sapwood::cancelled&) {
        how += 'c';
    }
    co_await sleep_for(1h);
    how += 'e';
    throw sapwood::cancelled{};
}

/// 'v' a value, 't' timed out, 'c' cancelled, 'f' another failure.
template <class Await>
task<char> how_it_ends(Await await) {
    try {
        co_await await();
        co_return 'v';
    } catch (const sapwood::cancelled&) {
        co_return 'c';
    } catch (const std::system_error& failure) {
        co_return failure.code() == std::errc::timed_out ? 't' : 'f';
    } catch (...) {
        co_return 'f';
    }
}

} // namespace

TEST_SUITE("timeout") {

    CO_TEST_CASE("what ends in time gives its value, and no timer is left") {
        const auto before = event_loop::current().now();
        CHECK(co_await timeout(2s, after(1s, 7)) == 7);
        CHECK(co_await deadline(before + 3s, after(1s, 8)) == 8);
        CHECK(event_loop::current().now() - before == 2s);
        co_await sleep_for(1h); // where the timers would fire
    }

    CO_TEST_CASE("what does not end in time is told to stop, awaited, and timed out") {
        std::string how;
        const auto before = event_loop::current().now();
        CHECK(co_await how_it_ends(
                  [&]() -> task<> { co_await timeout(1s, wait_and_clean_up(how)); }) == 't');
        CHECK(how == "ce");
        CHECK(event_loop::current().now() - before == 1h + 1s);
        CHECK_THROWS_WITH_AS(co_await deadline(before, sleep_for(1s)),
                             doctest::Contains("timeout at a deadline"), std::system_error);
        CHECK_THROWS_WITH_AS(co_await timeout(1500ms, sleep_for(1h)),
                             doctest::Contains("timeout of 1500 ms"), std::system_error);
        CHECK_THROWS_WITH_AS(co_await timeout(2s, sleep_for(1h)),
                             doctest::Contains("timeout of 2 s"), std::system_error);
    }

    CO_TEST_CASE("operations, sends, receives, events, locks, handles and functions can time out") {
        sapwood::channel<int> full(1);
        co_await full.send(1);
        sapwood::channel<int> empty(1);
        sapwood::event never;
        sapwood::mutex locked;
        const auto held = co_await locked.lock();
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        sapwood::file pipe_end(ends[0]);
        std::string how;
        auto token = std::make_shared<int>(0);
        CHECK(co_await how_it_ends([&]() -> task<> { co_await timeout(1s, sleep_for(1h)); }) ==
              't');
        CHECK(co_await how_it_ends([&]() -> task<> { co_await timeout(1s, full.send(2)); }) == 't');
        CHECK(co_await how_it_ends(
                  [&]() -> task<> { (void)co_await timeout(1s, empty.receive()); }) == 't');
        CHECK(co_await how_it_ends([&]() -> task<> { co_await timeout(1s, never.wait()); }) == 't');
        CHECK(co_await how_it_ends(
                  [&]() -> task<> { (void)co_await timeout(1s, locked.lock()); }) == 't');
        CHECK(co_await how_it_ends([&]() -> task<> {
                  (void)co_await timeout(1s, sapwood::poll(pipe_end, POLLIN));
              }) == 't');
        auto keep_token = [token]() -> task<> {
            const auto mine = token;
            co_await sleep_for(1h);
        };
        CHECK(co_await how_it_ends(
                  [&]() -> task<> { co_await timeout(1s, std::move(keep_token)); }) == 't');
        auto handle = sapwood::spawn(wait_and_clean_up(how));
        CHECK(co_await how_it_ends([&]() -> task<> { co_await timeout(1s, handle); }) == 't');
        CHECK(how == "ce");
        CHECK(token.use_count() == 1);
        CHECK(full.size() == 1);
        ::close(ends[1]);
    }

    CO_TEST_CASE("as_result gives timed_out, a value, or operation_canceled, and throws nothing") {
        sapwood::channel<int> items(1);
        CHECK((co_await as_result(timeout(1s, items.receive()))).error() == std::errc::timed_out);
        CHECK((co_await as_result(timeout(0s, sleep_for(1s)))).error() == std::errc::timed_out);
        CHECK((co_await as_result(timeout(1s, after(1h, 7)))).error() == std::errc::timed_out);
        CHECK((co_await as_result(timeout(1h, after(1s, 7)))).value() == 7);
        co_await items.send(8);
        CHECK((co_await as_result(timeout(1s, items.receive()))).value() == 8);
        std::error_code error;
        auto wait = [&]() -> task<> {
            error = (co_await as_result(timeout(1h, items.receive()))).error();
        };
        auto handle = sapwood::spawn(wait());
        co_await sleep_for(1s);
        handle.cancel();
        co_await handle;
        CHECK(error == std::errc::operation_canceled);
    }

    CO_TEST_CASE("a request to the task itself is never turned into timed_out") {
        auto handle = sapwood::spawn([]() -> task<> { co_await timeout(1h, sleep_for(24h)); });
        co_await sleep_for(1s);
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
    }

    CO_TEST_CASE("where the time is up and the task is cancelled before it runs, it is cancelled") {
        sapwood::join_handle<> handle;
        auto canceller = sapwood::spawn([&]() -> task<> {
            co_await sleep_for(1s);
            handle.cancel();
        });
        co_await sapwood::yield();
        co_await sapwood::yield();
        // Its timer is due in the same turn as the canceller's, which runs first.
        handle = sapwood::spawn([]() -> task<> { co_await timeout(1s, sleep_for(24h)); });
        co_await canceller;
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
    }

    CO_TEST_CASE("a request to the task during the cleanup of what timed out is not swallowed") {
        // Pending when the cleanup ends without a wait, and delivered in a cleanup that waits.
        for (const bool cleanup_waits : {false, true}) {
            sapwood::join_handle<> handle;
            auto stop_slowly = [&]() -> task<> {
                try {
                    co_await sleep_for(24h);
                } catch (const sapwood::cancelled&) {
                    handle.cancel();
                    if (!cleanup_waits) {
                        throw;
                    }
                }
                co_await sleep_for(1h);
            };
            handle = sapwood::spawn([&]() -> task<> { co_await timeout(1s, stop_slowly()); });
            CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        }
    }

    CO_TEST_CASE("a time that is up while the task is being cancelled does not hide that") {
        std::string how;
        auto clean_up_long = [&]() -> task<> {
            try {
                co_await sleep_for(24h);
            } catch (const sapwood::cancelled&) {
                how += 'c';
            }
            co_await sleep_for(24h); // broken off when the time is up
            how += 'e';
        };
        auto handle = sapwood::spawn([&]() -> task<> { co_await timeout(2s, clean_up_long()); });
        co_await sleep_for(1s);
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(how == "c");
    }

    CO_TEST_CASE("a value that comes although the time is up is given, and nothing is left over") {
        // The request is pending when the value comes.
        CHECK(co_await timeout(1s, []() -> task<int> {
                  const auto shielded = co_await sapwood::shield();
                  co_await sleep_for(2s);
                  co_return 7;
              }) == 7);
        co_await sleep_for(1s); // and is not delivered here
        // A task that refuses to stop.
        CHECK(co_await timeout(1s, [&]() -> task<int> {
                  try {
                      co_await sleep_for(24h);
                  } catch (const sapwood::cancelled&) {
                  }
                  co_return 8;
              }) == 8);
        // One that never waits after the time was up: the request is withdrawn.
        CHECK(co_await timeout(0s, []() -> task<int> { co_return 9; }) == 9);
        co_await sleep_for(1s);
        co_await sleep_for(1s);
    }

    CO_TEST_CASE("what handles the request and goes on is asked only once") {
        const auto before = event_loop::current().now();
        co_await timeout(1s, []() -> task<> {
            try {
                co_await sleep_for(24h);
            } catch (const sapwood::cancelled&) {
            }
            co_await sleep_for(1h);
            co_await sapwood::yield();
            co_await sleep_for(1h);
        });
        CHECK(event_loop::current().now() - before == 2h + 1s);
    }

    CO_TEST_CASE("of two timeouts each catches its own") {
        std::string order;
        const auto inner_first = co_await how_it_ends([&]() -> task<> {
            co_await timeout(2s, [&]() -> task<> {
                order +=
                    co_await how_it_ends([&]() -> task<> { co_await timeout(1s, sleep_for(24h)); });
                co_await sleep_for(24h);
            });
        });
        CHECK(order == "t");
        CHECK(inner_first == 't');
        order.clear();
        const auto outer_first = co_await how_it_ends([&]() -> task<> {
            co_await timeout(1s, [&]() -> task<> {
                order +=
                    co_await how_it_ends([&]() -> task<> { co_await timeout(2s, sleep_for(24h)); });
                throw sapwood::cancelled{};
            });
        });
        CHECK(order == "c");
        CHECK(outer_first == 't');
        // Directly in each other, at the same time: the outer one's.
        CHECK((co_await as_result(timeout(1s, timeout(1s, sleep_for(24h))))).error() ==
              std::errc::timed_out);
    }

    CO_TEST_CASE("an outer time that is up breaks the cleanup of what timed out inside") {
        std::string how;
        const auto before = event_loop::current().now();
        CHECK(co_await how_it_ends([&]() -> task<> {
                  co_await timeout(2s, timeout(1s, wait_and_clean_up(how)));
              }) == 't');
        CHECK(how == "c");
        CHECK(event_loop::current().now() - before == 2s);
    }

    CO_TEST_CASE("zero and less expire at the first wait, not before") {
        for (const auto at_most : {sapwood::clock::duration(0), sapwood::clock::duration(-5s)}) {
            int steps = 0;
            CHECK(co_await how_it_ends([&]() -> task<> {
                      co_await timeout(at_most, [&]() -> task<> {
                          ++steps;
                          co_await sleep_for(0s);
                          ++steps;
                      });
                  }) == 't');
            CHECK(steps == 1);
        }
        sapwood::channel<int> items(1);
        co_await timeout(0s, items.send(1)); // needs no wait
        CHECK(co_await timeout(0s, items.receive()) == 1);
    }

    CO_TEST_CASE("a shield inside holds the request off, a shield around it does not") {
        const auto before = event_loop::current().now();
        CHECK(co_await how_it_ends([&]() -> task<> {
                  co_await timeout(1s, []() -> task<> {
                      {
                          const auto shielded = co_await sapwood::shield();
                          co_await sleep_for(1h);
                      }
                      co_await sleep_for(1h);
                  });
              }) == 't');
        CHECK(event_loop::current().now() - before == 1h);
        const auto shielded = co_await sapwood::shield();
        CHECK(co_await how_it_ends([]() -> task<> { co_await timeout(1s, sleep_for(1h)); }) == 't');
        CHECK(event_loop::current().now() - before == 1h + 1s);
    }

    CO_TEST_CASE("under a shield around it only the timeout counts, and the request comes later") {
        char inner = ' ';
        auto handle = sapwood::spawn([&]() -> task<> {
            {
                const auto shielded = co_await sapwood::shield();
                inner =
                    co_await how_it_ends([]() -> task<> { co_await timeout(2s, sleep_for(1h)); });
            }
            co_await sleep_for(1h);
        });
        co_await sleep_for(1s);
        handle.cancel();
        CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        CHECK(inner == 't');
    }

    CO_TEST_CASE("a when_all and a group inside are cancelled and awaited") {
        std::string how;
        CHECK(co_await how_it_ends([&]() -> task<> {
                  (void)co_await timeout(
                      1s, sapwood::when_all(wait_and_clean_up(how), wait_and_clean_up(how)));
              }) == 't');
        CHECK(how == "ccee");
        how.clear();
        CHECK(co_await how_it_ends([&]() -> task<> {
                  co_await timeout(
                      1s, sapwood::with_task_group([&](sapwood::task_group& group) -> task<> {
                          group.spawn(wait_and_clean_up(how));
                          co_await sleep_for(24h);
                      }));
              }) == 't');
        CHECK(how == "ce");
    }

    CO_TEST_CASE("a failure of what is awaited goes through, and takes the timer with it") {
        CHECK_THROWS_WITH_AS(co_await timeout(1s,
                                              []() -> task<> {
                                                  co_await sapwood::yield();
                                                  throw std::runtime_error("as planned");
                                              }),
                             "as planned", std::runtime_error);
        co_await sleep_for(1h);
        CHECK_THROWS_AS(co_await timeout(1s,
                                         []() -> task<> {
                                             throw sapwood::cancelled{}; // nobody asked for it
                                             co_return;
                                         }),
                        sapwood::cancelled);
    }

    CO_TEST_CASE("references and move-only values come through") {
        int object = 0;
        CHECK(&co_await timeout(1s, [&]() -> task<int&> { co_return object; }) == &object);
        CHECK(*co_await timeout(1s, []() -> task<std::unique_ptr<int>> {
            co_await sleep_for(1ms);
            co_return std::make_unique<int>(7);
        }) == 7);
    }
}
