// channel<T>: what goes in comes out, in order and once; closing; counting; misuse.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::channel;
using sapwood::task;
using sapwood::test::last_words;

task<> send_range(channel<int>& to, int first, int last) {
    for (int item = first; item <= last; ++item) {
        co_await to.send(item);
    }
}

task<> receive_into(channel<int>& from, std::vector<int>& into, int count) {
    for (int i = 0; i < count; ++i) {
        into.push_back(co_await from.receive());
    }
}

/// '.' while it waits, then 'v' for a value, 'c' for closed, 'x' for cancelled.
task<> receive_noting(channel<int>& from, char& how) {
    how = '.';
    try {
        (void)co_await from.receive();
        how = 'v';
    } catch (const std::system_error& failure) {
        how = failure.code() == sapwood::errc::closed ? 'c' : '?';
    } catch (const sapwood::cancelled&) {
        how = 'x';
    }
}

task<> send_noting(channel<int>& to, char& how) {
    how = '.';
    try {
        co_await to.send(1);
        how = 'v';
    } catch (const std::system_error& failure) {
        how = failure.code() == sapwood::errc::closed ? 'c' : '?';
    } catch (const sapwood::cancelled&) {
        how = 'x';
    }
}

std::error_code code_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::system_error& failure) {
        return failure.code();
    }
}

} // namespace

TEST_SUITE("channel") {

    CO_TEST_CASE("items come out in the order they went in") {
        channel<int> queue(3);
        std::vector<int> got;
        auto sender = sapwood::spawn(send_range(queue, 1, 8));
        co_await receive_into(queue, got, 8);
        co_await sender;
        CHECK(got == std::vector{1, 2, 3, 4, 5, 6, 7, 8});
        CHECK(queue.empty());
    }

    CO_TEST_CASE("as many sends as the capacity do not wait, and the next one does") {
        for (const std::size_t capacity : {1U, 2U, 3U, 5U, 8U}) {
            channel<int> queue(capacity);
            char how = ' ';
            for (std::size_t i = 0; i < capacity; ++i) {
                co_await send_noting(queue, how);
            }
            CHECK(queue.size() == capacity);
            auto waiting = sapwood::spawn(send_noting(queue, how));
            co_await sapwood::yield();
            CHECK(how == '.');
            CHECK(queue.size() == capacity);
            (void)co_await queue.receive();
            co_await waiting;
            CHECK(how == 'v');
            CHECK(queue.size() == capacity);
        }
    }

    CO_TEST_CASE("receivers are served in the order they came") {
        channel<int> queue(4);
        std::vector<int> served;
        auto receiver = [&](int number) -> task<> {
            const int item = co_await queue.receive();
            served.push_back(number * 10 + item);
        };
        std::vector<sapwood::join_handle<void>> handles;
        for (int i = 1; i <= 3; ++i) {
            handles.push_back(sapwood::spawn(receiver(i)));
        }
        co_await sapwood::yield();
        co_await send_range(queue, 1, 3);
        for (auto& handle : handles) {
            co_await handle;
        }
        CHECK(served == std::vector{11, 22, 33});
    }

    CO_TEST_CASE("senders are let in in the order they came, newcomers behind them") {
        channel<int> queue(1);
        co_await queue.send(0);
        auto first = sapwood::spawn(send_range(queue, 1, 1));
        auto second = sapwood::spawn(send_range(queue, 2, 2));
        co_await sapwood::yield();
        CHECK(co_await queue.receive() == 0); // lets 1 in
        CHECK_FALSE(queue.try_send(9));
        CHECK(co_await queue.receive() == 1);
        CHECK(co_await queue.receive() == 2);
        co_await first;
        co_await second;
    }

    CO_TEST_CASE("ten thousand senders of one item each all get in, in order") {
        channel<int> queue(8);
        std::vector<sapwood::join_handle<void>> senders;
        for (int i = 0; i < 10'000; ++i) {
            senders.push_back(sapwood::spawn(send_range(queue, i, i)));
        }
        std::vector<int> got;
        co_await receive_into(queue, got, 10'000);
        int out_of_order = 0;
        for (int i = 0; i < 10'000; ++i) {
            out_of_order += got[static_cast<std::size_t>(i)] == i ? 0 : 1;
        }
        CHECK(out_of_order == 0);
        for (auto& sender : senders) {
            co_await sender;
        }
    }

    CO_TEST_CASE("items may be move-only") {
        channel<std::unique_ptr<int>> queue(1);
        co_await queue.send(std::make_unique<int>(1));
        auto sender = [&]() -> task<> { co_await queue.send(std::make_unique<int>(2)); };
        auto waiting = sapwood::spawn(sender());
        co_await sapwood::yield();
        CHECK(*co_await queue.receive() == 1);
        CHECK(**queue.try_receive() == 2);
        co_await waiting;
        auto receiver = [&]() -> task<int> { co_return *co_await queue.receive(); };
        auto handed = sapwood::spawn(receiver());
        co_await sapwood::yield();
        CHECK(queue.try_send(std::make_unique<int>(3)));
        CHECK(co_await handed == 3);
    }

    CO_TEST_CASE("sending an lvalue copies it, also when the send has to wait") {
        channel<std::string> queue(1);
        const std::string text = "a text that does not fit into the string itself";
        co_await queue.send(text);
        auto sender = [&]() -> task<> { co_await queue.send(text); };
        auto waiting = sapwood::spawn(sender());
        co_await sapwood::yield();
        CHECK(co_await queue.receive() == text);
        CHECK(co_await queue.receive() == text);
        CHECK(text.size() == 47);
        co_await waiting;
    }

    CO_TEST_CASE("try_send and try_receive never wait and say whether they did it") {
        channel<std::string> queue(1);
        CHECK_FALSE(queue.try_receive().has_value());
        std::string value = "untouched";
        CHECK(queue.try_send(std::string("first")));
        CHECK_FALSE(queue.try_send(std::move(value)));
        CHECK(value == "untouched");
        CHECK_FALSE(queue.try_send(value));
        CHECK(queue.try_receive() == "first");
        CHECK(queue.try_send(value));
        CHECK(value == "untouched");
        CHECK(queue.try_receive() == "untouched");
        co_return;
    }

    CO_TEST_CASE("try_receive lets a waiting sender in") {
        channel<int> queue(1);
        auto sender = sapwood::spawn(send_range(queue, 1, 2));
        co_await sapwood::yield();
        CHECK(queue.try_receive() == 1);
        CHECK(queue.try_receive() == 2);
        co_await sender;
    }

    TEST_CASE("items left in a channel are destroyed with it") {
        const auto token = std::make_shared<int>(1);
        auto leave_items = [&]() -> task<> {
            channel<std::shared_ptr<int>> queue(5);
            for (int i = 0; i < 5; ++i) {
                co_await queue.send(token);
            }
            (void)co_await queue.receive();
            co_await queue.send(token); // the ring of slots has wrapped
            CHECK(token.use_count() == 6);
        };
        sapwood::test::run_virtual(leave_items());
        CHECK(token.use_count() == 1);
    }

    // --- closing ---

    CO_TEST_CASE("after a close what is in the channel comes out, then receives throw closed") {
        channel<int> queue(2);
        co_await send_range(queue, 1, 2);
        queue.close();
        CHECK(queue.is_closed());
        CHECK(co_await queue.receive() == 1);
        CHECK(queue.try_receive() == 2);
        CHECK_FALSE(queue.try_receive().has_value());
        char how = ' ';
        co_await receive_noting(queue, how);
        CHECK(how == 'c');
    }

    CO_TEST_CASE("a send to a closed channel throws and leaves the value with its owner") {
        channel<std::string> queue(2);
        queue.close();
        std::string value = "mine";
        CHECK_THROWS_AS(co_await queue.send(std::move(value)), std::system_error);
        CHECK_THROWS_AS((void)co_await queue.send_for(std::move(value), 1s), std::system_error);
        CHECK_THROWS_AS((void)queue.try_send(std::move(value)), std::system_error);
        CHECK_THROWS_AS((void)queue.try_send(value), std::system_error);
        CHECK(value == "mine");
    }

    CO_TEST_CASE("waiting senders can be refused, who keep their values, and the channel goes on") {
        channel<std::string> queue(1);
        co_await queue.send("in before");
        std::string value = "mine";
        std::error_code why;
        auto sender = [&]() -> task<> {
            try {
                co_await queue.send(std::move(value));
            } catch (const std::system_error& failure) {
                why = failure.code();
            }
        };
        auto waiting = sapwood::spawn(sender());
        co_await sapwood::yield();
        queue.refuse_waiting(std::make_error_code(std::errc::no_space_on_device));
        co_await waiting;
        CHECK(why == std::errc::no_space_on_device);
        CHECK(value == "mine");
        CHECK(co_await queue.receive() == "in before");
        co_await queue.send(std::move(value));
        CHECK(co_await queue.receive() == "mine");
    }

    CO_TEST_CASE("close throws at waiting senders, who keep their values") {
        channel<std::string> queue(1);
        co_await queue.send("in before");
        std::string value = "mine";
        std::error_code why;
        auto sender = [&]() -> task<> {
            try {
                co_await queue.send(std::move(value));
            } catch (const std::system_error& failure) {
                why = failure.code();
            }
        };
        auto waiting = sapwood::spawn(sender());
        co_await sapwood::yield();
        queue.close();
        co_await waiting;
        CHECK(why == sapwood::errc::closed);
        CHECK(value == "mine");
        CHECK(co_await queue.receive() == "in before");
    }

    CO_TEST_CASE("close throws at all waiting receivers") {
        channel<int> queue(1);
        std::string how(3, ' ');
        std::vector<sapwood::join_handle<void>> handles;
        for (auto& each : how) {
            handles.push_back(sapwood::spawn(receive_noting(queue, each)));
        }
        co_await sapwood::yield();
        CHECK(how == "...");
        queue.close();
        for (auto& handle : handles) {
            co_await handle;
        }
        CHECK(how == "ccc");
    }

    CO_TEST_CASE("the reason given to close reaches senders and receivers, the first one counts") {
        channel<int> queue(1);
        queue.close(std::make_error_code(std::errc::no_space_on_device));
        queue.close();
        std::error_code seen_by_receiver;
        std::error_code seen_by_sender;
        try {
            (void)co_await queue.receive();
        } catch (...) {
            seen_by_receiver = code_of(std::current_exception());
        }
        try {
            co_await queue.send(1);
        } catch (...) {
            seen_by_sender = code_of(std::current_exception());
        }
        CHECK(seen_by_receiver == std::errc::no_space_on_device);
        CHECK(seen_by_sender == std::errc::no_space_on_device);
    }

    CO_TEST_CASE("a channel may be closed and destroyed before those it woke run") {
        std::string how(4, ' ');
        std::vector<sapwood::join_handle<void>> handles;
        {
            channel<int> queue(1);
            co_await queue.send(1);
            handles.push_back(sapwood::spawn(send_noting(queue, how[0])));
            co_await sapwood::yield();
            queue.close();
        }
        {
            channel<int> queue(1);
            handles.push_back(sapwood::spawn(receive_noting(queue, how[1])));
            handles.push_back(sapwood::spawn(receive_noting(queue, how[2])));
            handles.push_back(sapwood::spawn(receive_noting(queue, how[3])));
            co_await sapwood::yield();
            handles[2].cancel();
            co_await queue.send(1);
            queue.close();
        }
        for (auto& handle : handles) {
            co_await handle;
        }
        CHECK(how == "cvxc");
    }

    // --- task_done, join ---

    CO_TEST_CASE("join waits until every item was received and declared done") {
        channel<int> queue(10);
        co_await send_range(queue, 1, 3);
        bool joined = false;
        auto joiner = [&]() -> task<> {
            co_await queue.join();
            joined = true;
        };
        auto handle = sapwood::spawn(joiner());
        co_await sapwood::yield();
        for (int i = 0; i < 3; ++i) {
            CHECK(queue.unfinished() == static_cast<std::size_t>(3 - i));
            (void)co_await queue.receive();
            co_await sapwood::yield();
            CHECK_FALSE(joined);
            queue.task_done();
        }
        co_await handle;
        CHECK(joined);
        CHECK(queue.unfinished() == 0);
    }

    CO_TEST_CASE("join does not wait for a channel that never had an item, and counts hand-overs") {
        channel<int> queue(1);
        co_await queue.join();
        char how = ' ';
        auto receiver = sapwood::spawn(receive_noting(queue, how));
        co_await sapwood::yield();
        co_await queue.send(1); // straight to the receiver
        co_await receiver;
        CHECK(queue.unfinished() == 1);
        queue.task_done();
        co_await queue.join();
        CHECK(queue.unfinished() == 0);
    }

    CO_TEST_CASE("several tasks may join; task_done may count many; a join can be cancelled") {
        channel<int> queue(4);
        co_await send_range(queue, 1, 4);
        auto joiner = [&]() -> task<> { co_await queue.join(); };
        auto first = sapwood::spawn(joiner());
        auto second = sapwood::spawn(joiner());
        auto third = sapwood::spawn(joiner());
        co_await sapwood::yield();
        second.cancel();
        CHECK_THROWS_AS(co_await second, sapwood::cancelled);
        std::vector<int> got;
        CHECK(co_await queue.receive_many(got, 10) == 4);
        queue.task_done(4);
        co_await first;
        co_await third;
        CHECK(third.done());
    }

    TEST_CASE("task_done more often than items were sent hits the assertion") {
        auto misuse = []() -> task<> {
            channel<int> queue(1);
            co_await queue.send(1);
            queue.task_done();
            queue.task_done();
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("task_done() was called more often"));
    }

    CO_TEST_CASE("a channel that is destroyed cancels who waits on it") {
        auto queue = std::make_unique<channel<int>>(1);
        char receiving = ' ';
        auto receiver = sapwood::spawn(receive_noting(*queue, receiving));
        co_await sapwood::yield();
        queue.reset();
        co_await receiver;
        CHECK(receiving == 'x');

        queue = std::make_unique<channel<int>>(1);
        co_await queue->send(0);
        char sending = ' ';
        auto sender = sapwood::spawn(send_noting(*queue, sending));
        auto joiner = sapwood::spawn([&]() -> task<> { co_await queue->join(); });
        co_await sapwood::yield();
        queue.reset();
        co_await sender;
        CHECK(sending == 'x');
        CHECK_THROWS_AS(co_await joiner, sapwood::cancelled);
    }

    TEST_CASE("an exception that destroys a channel comes through, whoever waits on it") {
        auto produce_and_fail = []() -> task<> {
            channel<int> queue(1);
            auto consume = [&]() -> task<> {
                for (;;) {
                    (void)co_await queue.receive();
                    queue.task_done();
                }
            };
            auto consumer = sapwood::spawn(consume());
            co_await sapwood::yield();
            throw std::runtime_error("the database is gone");
        };
        CHECK_THROWS_WITH(sapwood::test::run_virtual(produce_and_fail()), "the database is gone");
    }

    TEST_CASE("a capacity out of range, and a close without a reason, hit the assertion") {
        for (const auto capacity :
             {std::size_t{0}, channel<int>::capacity_max + 1, static_cast<std::size_t>(-1)}) {
            CHECK(last_words([=] { channel<int> queue(capacity); }) ==
                  doctest::Contains("capacity must be at least 1"));
        }
        CHECK(last_words([] { channel<int>(1).close(std::error_code()); }) ==
              doctest::Contains("an error code that means success"));
    }

    // --- everything at once ---

    CO_TEST_CASE("whatever senders, receivers and cancellations do, each accepted item comes out "
                 "exactly once, for each receiver in its sender's order") {
        const unsigned seed = std::random_device{}();
        CAPTURE(seed);
        std::mt19937 random(seed);
        for (int round = 0; round < 30; ++round) {
            constexpr int senders = 5;
            channel<std::pair<int, int>> queue(1 + random() % 4);
            std::multiset<std::pair<int, int>> accepted;
            std::multiset<std::pair<int, int>> received;
            int out_of_order = 0;
            auto sender = [&](int number) -> task<> {
                for (int item = 0; item < 60; ++item) {
                    bool done = false;
                    switch (random() % 4) {
                    case 0:
                        done = queue.try_send({number, item});
                        break;
                    case 1:
                        done = co_await queue.send_for({number, item}, 1ms * (random() % 3));
                        break;
                    default:
                        co_await queue.send({number, item});
                        done = true;
                    }
                    if (done) {
                        accepted.insert({number, item});
                    }
                    if (random() % 3 == 0) {
                        co_await sapwood::sleep_for(1ms * (random() % 3));
                    }
                }
            };
            auto receiver = [&]() -> task<> {
                std::vector<int> last(senders, -1);
                const auto take = [&](std::pair<int, int> item) {
                    received.insert(item);
                    auto& before = last[static_cast<std::size_t>(item.first)];
                    out_of_order += std::exchange(before, item.second) < item.second ? 0 : 1;
                    queue.task_done();
                };
                for (;;) {
                    switch (random() % 4) {
                    case 0:
                        if (const auto item = queue.try_receive()) {
                            take(*item);
                        }
                        co_await sapwood::yield();
                        break;
                    case 1:
                        if (const auto item = co_await queue.receive_for(1ms * (random() % 3))) {
                            take(*item);
                        }
                        break;
                    case 2: {
                        std::vector<std::pair<int, int>> batch;
                        (void)co_await queue.receive_many(batch, 1 + random() % 4,
                                                          1ms * (random() % 3));
                        for (const auto& item : batch) {
                            take(item);
                        }
                        break;
                    }
                    default:
                        take(co_await queue.receive());
                    }
                }
            };
            std::vector<sapwood::join_handle<void>> sending;
            std::vector<sapwood::join_handle<void>> receiving;
            for (int i = 0; i < senders; ++i) {
                sending.push_back(sapwood::spawn(sender(i)));
            }
            for (int i = 0; i < 3; ++i) {
                receiving.push_back(sapwood::spawn(receiver()));
            }
            // Receivers are cancelled and replaced while it goes on; one sender is cancelled too.
            for (int i = 0; i < 20; ++i) {
                co_await sapwood::sleep_for(1ms * (random() % 3));
                auto& victim = receiving[random() % receiving.size()];
                victim.cancel();
                CHECK_THROWS_AS(co_await victim, sapwood::cancelled);
                victim = sapwood::spawn(receiver());
            }
            sending[0].cancel();
            for (auto& handle : sending) {
                try {
                    co_await handle;
                } catch (const sapwood::cancelled&) {
                }
            }
            co_await queue.join();
            for (auto& handle : receiving) {
                handle.cancel();
                CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
            }
            CHECK((received == accepted));
            CHECK(out_of_order == 0);
            CHECK(queue.empty());
        }
    }
}
