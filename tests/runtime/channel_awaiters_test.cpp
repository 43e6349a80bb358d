// How waits on a channel end: in time, late, cancelled, in batches; what happens to the item.
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <memory>
#include <new>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::as_result;
using sapwood::channel;
using sapwood::event_loop;
using sapwood::task;
using sapwood::test::last_words;

task<> send_after(channel<int>& to, sapwood::clock::duration delay, int item) {
    co_await sapwood::sleep_for(delay);
    co_await to.send(item);
}

task<std::size_t> batch_of(channel<int>& from, std::vector<int>& out, std::size_t max,
                           sapwood::clock::duration linger = {}) {
    co_return co_await from.receive_many(out, max, linger);
}

/// Throws at the push_back it is told to.
class bounded_output {
  public:
    explicit bounded_output(std::size_t room) : room_(room) {}

    void push_back(int&& item) {
        if (items.size() == room_) {
            throw std::bad_alloc();
        }
        items.push_back(item);
    }

    std::vector<int> items;

  private:
    std::size_t room_;
};

} // namespace

TEST_SUITE("channel_awaiters") {

    // --- timed sends and receives ---

    CO_TEST_CASE("receive_for gives what comes in time and nothing when the time is over") {
        channel<int> queue(1);
        auto& loop = event_loop::current();
        const auto before = loop.now();
        CHECK_FALSE((co_await queue.receive_for(1s)).has_value());
        CHECK(loop.now() - before == 1s);
        auto sender = sapwood::spawn(send_after(queue, 1s, 7));
        CHECK(co_await queue.receive_for(2s) == 7);
        CHECK(loop.now() - before == 2s);
        co_await queue.send(8);
        CHECK(co_await queue.receive_for(0s) == 8);
        co_await sender;
    }

    CO_TEST_CASE("a receiver whose time is over is no longer in the queue") {
        channel<int> queue(1);
        CHECK_FALSE((co_await queue.receive_for(1s)).has_value());
        co_await queue.send(1);
        CHECK(queue.size() == 1);
    }

    CO_TEST_CASE("send_for gives up in time and leaves the value with its owner") {
        channel<std::string> queue(1);
        std::string value = "mine";
        const auto before = event_loop::current().now();
        co_await queue.send("in the way");
        CHECK_FALSE(co_await queue.send_for(std::move(value), 1s));
        CHECK(event_loop::current().now() - before == 1s);
        CHECK(value == "mine");
        CHECK(co_await queue.receive() == "in the way");
        CHECK(queue.empty());
        CHECK(co_await queue.send_for(std::move(value), 1s));
        CHECK(co_await queue.receive() == "mine");
    }

    CO_TEST_CASE("send_for that gets room in time succeeds and its deadline does nothing") {
        channel<int> queue(1);
        co_await queue.send(1);
        auto sender = [&]() -> task<bool> { co_return co_await queue.send_for(2, 1h); };
        auto handle = sapwood::spawn(sender());
        co_await sapwood::sleep_for(1min);
        CHECK(co_await queue.receive() == 1);
        CHECK(co_await handle);
        co_await sapwood::sleep_for(2h);
        CHECK(co_await queue.receive() == 2);
    }

    CO_TEST_CASE("a close ends timed waits at once") {
        channel<int> queue(1);
        auto receiver = [&]() -> task<std::error_code> {
            co_return (co_await as_result(queue.receive_for(1h))).error();
        };
        auto handle = sapwood::spawn(receiver());
        const auto before = event_loop::current().now();
        co_await sapwood::yield();
        queue.close();
        CHECK(co_await handle == sapwood::errc::closed);
        CHECK(event_loop::current().now() == before);
    }

    CO_TEST_CASE("cancelled timed waits throw, keep the value, and leave no timer behind") {
        channel<std::string> queue(1);
        std::string value = "mine";
        auto receive = [&]() -> task<> { (void)co_await queue.receive_for(1h); };
        auto receiver = sapwood::spawn(receive());
        co_await sapwood::yield();
        receiver.cancel();
        CHECK_THROWS_AS(co_await receiver, sapwood::cancelled);
        co_await queue.send("in the way");
        auto send = [&]() -> task<> { (void)co_await queue.send_for(std::move(value), 1h); };
        auto sender = sapwood::spawn(send());
        co_await sapwood::yield();
        sender.cancel();
        CHECK_THROWS_AS(co_await sender, sapwood::cancelled);
        CHECK(value == "mine");
        co_await sapwood::sleep_for(2h);
        CHECK(queue.size() == 1);
    }

    // --- cancelling ---

    CO_TEST_CASE("a cancelled send throws and leaves the value with its owner") {
        channel<std::string> queue(1);
        co_await queue.send("in the way");
        std::string value = "mine";
        auto send = [&]() -> task<> { co_await queue.send(std::move(value)); };
        auto sender = sapwood::spawn(send());
        co_await sapwood::yield();
        sender.cancel();
        CHECK_THROWS_AS(co_await sender, sapwood::cancelled);
        CHECK(value == "mine");
        CHECK(co_await queue.receive() == "in the way");
        CHECK(queue.empty());
        CHECK(queue.unfinished() == 1);
    }

    CO_TEST_CASE("an item that was handed over is not lost when its receiver is cancelled") {
        channel<int> queue(1);
        bool stopped_later = false;
        auto receive = [&]() -> task<int> {
            const int item = co_await queue.receive();
            try {
                co_await sapwood::sleep_for(1h);
            } catch (const sapwood::cancelled&) {
                stopped_later = true; // the request comes at the next wait
            }
            co_return item;
        };
        auto receiver = sapwood::spawn(receive());
        co_await sapwood::yield();
        co_await queue.send(7);
        receiver.cancel();
        CHECK(co_await receiver == 7);
        CHECK(stopped_later);
    }

    CO_TEST_CASE("a send that was accepted stays accepted when its sender is cancelled") {
        channel<int> queue(1);
        co_await queue.send(1);
        bool sent = false;
        auto send = [&]() -> task<> {
            co_await queue.send(2);
            sent = true;
            co_await sapwood::yield();
        };
        auto sender = sapwood::spawn(send());
        co_await sapwood::yield();
        CHECK(co_await queue.receive() == 1);
        sender.cancel();
        CHECK_THROWS_AS(co_await sender, sapwood::cancelled);
        CHECK(sent);
        CHECK(co_await queue.receive() == 2);
    }

    CO_TEST_CASE("a task that is asked to stop twice before it runs is stopped once") {
        channel<int> full(1);
        co_await full.send(0);
        channel<int> empty(1);
        int stopped = 0;
        int cleaned_up = 0;
        auto wait = [&](int form) -> task<> {
            std::vector<int> out;
            try {
                switch (form) {
                case 0:
                    (void)co_await empty.receive();
                    break;
                case 1:
                    (void)co_await empty.receive_for(9h);
                    break;
                case 2:
                    (void)co_await empty.receive_many(out, 2, 9h);
                    break;
                case 3:
                    co_await full.send(1);
                    break;
                case 4:
                    (void)co_await full.send_for(1, 9h);
                    break;
                case 5:
                    co_await full.join();
                    break;
                default:
                    co_await sapwood::sleep_for(9h);
                }
            } catch (const sapwood::cancelled&) {
                ++stopped;
            }
            co_await sapwood::sleep_for(1s); // a cleanup that waits
            ++cleaned_up;
        };
        for (int form = 0; form < 7; ++form) {
            auto handle = sapwood::spawn(wait(form));
            co_await sapwood::yield();
            handle.cancel();
            handle.cancel();
            co_await handle;
        }
        CHECK(stopped == 7);
        CHECK(cleaned_up == 7);
    }

    CO_TEST_CASE("a cancelled waiter in the middle of the line does not break it") {
        channel<int> queue(1);
        std::vector<int> got;
        auto receive = [&](int number) -> task<> {
            (void)co_await queue.receive();
            got.push_back(number);
        };
        std::vector<sapwood::join_handle<void>> receivers;
        for (int i = 0; i < 5; ++i) {
            receivers.push_back(sapwood::spawn(receive(i)));
        }
        co_await sapwood::yield();
        for (const std::size_t victim : {2U, 0U, 4U}) {
            receivers[victim].cancel();
            CHECK_THROWS_AS(co_await receivers[victim], sapwood::cancelled);
        }
        co_await queue.send(1);
        co_await queue.send(1);
        co_await receivers[1];
        co_await receivers[3];
        CHECK(got == std::vector{1, 3});
    }

    CO_TEST_CASE("a task with a pending request does not begin to wait on a channel") {
        channel<int> queue(1);
        int refused = 0;
        sapwood::join_handle<void> handle;
        auto attempt = [&]() -> task<> {
            std::vector<int> out;
            for (int form = 0; form < 4; ++form) {
                handle.cancel();
                try {
                    switch (form) {
                    case 0:
                        (void)co_await queue.receive();
                        break;
                    case 1:
                        (void)co_await queue.receive_for(1h);
                        break;
                    case 2:
                        (void)co_await queue.receive_many(out, 2, 1h);
                        break;
                    default:
                        (void)queue.try_send(1);
                        co_await queue.send(2);
                    }
                } catch (const sapwood::cancelled&) {
                    ++refused;
                }
            }
            handle.cancel();
            (void)co_await queue.receive(); // does not have to wait: not delivered here
        };
        handle = sapwood::spawn(attempt());
        co_await handle;
        CHECK(refused == 4);
        CHECK(queue.empty());
    }

    // --- receive_many ---

    CO_TEST_CASE("receive_many takes what is there, up to its maximum, and does not wait") {
        channel<int> queue(10);
        std::vector<int> out{0};
        for (int i = 1; i <= 5; ++i) {
            co_await queue.send(i);
        }
        CHECK(co_await queue.receive_many(out, 3) == 3);
        CHECK(co_await queue.receive_many(out, 3) == 2);
        CHECK(out == std::vector{0, 1, 2, 3, 4, 5});
    }

    CO_TEST_CASE("receive_many waits for the first item and takes those that came with it") {
        channel<int> queue(10);
        std::vector<int> out;
        auto receiver = sapwood::spawn(batch_of(queue, out, 10));
        co_await sapwood::yield();
        for (int i = 1; i <= 4; ++i) {
            co_await queue.send(i);
        }
        CHECK(co_await receiver == 4);
        CHECK(out == std::vector{1, 2, 3, 4});
    }

    CO_TEST_CASE("receive_many lets waiting senders in and takes their items too") {
        channel<int> queue(1);
        std::vector<sapwood::join_handle<void>> senders;
        for (int i = 1; i <= 5; ++i) {
            senders.push_back(sapwood::spawn(send_after(queue, 1s * i, i)));
        }
        co_await sapwood::sleep_for(10s);
        std::vector<int> out;
        CHECK(co_await queue.receive_many(out, 4) == 4);
        CHECK(out == std::vector{1, 2, 3, 4});
        for (auto& sender : senders) {
            co_await sender;
        }
        CHECK(co_await queue.receive() == 5);
    }

    CO_TEST_CASE("receive_many lingers for its time after the first item") {
        channel<int> queue(10);
        std::vector<int> out;
        const auto before = event_loop::current().now();
        auto first = sapwood::spawn(send_after(queue, 10s, 1));
        auto second = sapwood::spawn(send_after(queue, 12s, 2));
        auto late = sapwood::spawn(send_after(queue, 16s, 3));
        CHECK(co_await queue.receive_many(out, 10, 5s) == 2);
        CHECK(event_loop::current().now() - before == 15s);
        CHECK(out == std::vector{1, 2});
        co_await late;
        CHECK(co_await queue.receive_many(out, 10, 5s) == 1); // lingers although one was there
        CHECK(event_loop::current().now() - before == 21s);
    }

    CO_TEST_CASE("receive_many stops lingering when it has its maximum") {
        channel<int> queue(10);
        std::vector<int> out;
        const auto before = event_loop::current().now();
        auto first = sapwood::spawn(send_after(queue, 1s, 1));
        auto second = sapwood::spawn(send_after(queue, 2s, 2));
        auto third = sapwood::spawn(send_after(queue, 2s, 3));
        CHECK(co_await queue.receive_many(out, 2, 1h) == 2);
        CHECK(event_loop::current().now() - before == 2s);
        co_await third;
        CHECK(queue.size() == 1);
    }

    CO_TEST_CASE("a close ends lingering, and what came is returned before the next call throws") {
        channel<int> queue(10);
        std::vector<int> out;
        auto receiver = sapwood::spawn(batch_of(queue, out, 10, 1h));
        auto sender = sapwood::spawn(send_after(queue, 1s, 1));
        co_await sapwood::sleep_for(2s);
        const auto before = event_loop::current().now();
        queue.close();
        CHECK(co_await receiver == 1);
        CHECK(event_loop::current().now() == before);
        CHECK_THROWS_AS((void)co_await queue.receive_many(out, 10, 1h), std::system_error);
        CHECK(out == std::vector{1});
    }

    CO_TEST_CASE("receive_many of a closed channel with items returns them without lingering") {
        channel<int> queue(10);
        std::vector<int> out;
        co_await queue.send(1);
        queue.close();
        const auto before = event_loop::current().now();
        CHECK(co_await queue.receive_many(out, 10, 1h) == 1);
        CHECK(event_loop::current().now() == before);
    }

    CO_TEST_CASE("a cancelled receive_many returns what it has; without items it throws") {
        channel<int> queue(10);
        std::vector<int> out;
        auto empty_handed = sapwood::spawn(batch_of(queue, out, 10, 1h));
        co_await sapwood::yield();
        empty_handed.cancel();
        CHECK_THROWS_AS(co_await empty_handed, sapwood::cancelled);
        auto lingering = sapwood::spawn(batch_of(queue, out, 10, 1h));
        co_await sapwood::yield();
        co_await queue.send(1);
        co_await sapwood::yield();
        lingering.cancel();
        CHECK(co_await lingering == 1);
        CHECK(out == std::vector{1});
        co_await sapwood::sleep_for(2h); // no timer is left
        CHECK(queue.empty());
    }

    CO_TEST_CASE("a push_back that throws loses nothing that is in the channel") {
        channel<int> queue(10);
        for (int i = 1; i <= 4; ++i) {
            co_await queue.send(i);
        }
        bounded_output out(2);
        CHECK_THROWS_AS((void)co_await queue.receive_many(out, 10), std::bad_alloc);
        CHECK(out.items == std::vector{1, 2});
        CHECK(co_await queue.receive() == 3);
        CHECK(co_await queue.receive() == 4);
    }

    CO_TEST_CASE("a push_back that throws at a hand-over leaves the item to the next in line") {
        channel<int> queue(10);
        bounded_output out(1);
        auto receive_bounded = [&]() -> task<> { (void)co_await queue.receive_many(out, 10, 1h); };
        auto failing = sapwood::spawn(receive_bounded());
        std::vector<int> other_out;
        auto next = sapwood::spawn(batch_of(queue, other_out, 10));
        co_await sapwood::yield();
        co_await queue.send(1);
        co_await queue.send(2); // does not fit
        CHECK_THROWS_AS(co_await failing, std::bad_alloc);
        CHECK(co_await next == 1);
        CHECK(out.items == std::vector{1});
        CHECK(other_out == std::vector{2});
        CHECK(queue.unfinished() == 2);
    }

    CO_TEST_CASE(
        "a push_back that throws with nobody else in line leaves the item in the channel") {
        channel<int> queue(10);
        bounded_output out(0);
        auto receive_bounded = [&]() -> task<> { (void)co_await queue.receive_many(out, 10); };
        auto failing = sapwood::spawn(receive_bounded());
        co_await sapwood::yield();
        co_await queue.send(1);
        CHECK_THROWS_AS(co_await failing, std::bad_alloc);
        CHECK(co_await queue.receive() == 1);
    }

    CO_TEST_CASE("a channel may be destroyed before a receive_many that it served runs") {
        auto queue = std::make_unique<channel<int>>(10);
        std::vector<int> out;
        std::vector<int> lingering_out;
        auto receiver = sapwood::spawn(batch_of(*queue, out, 10));
        auto lingering = sapwood::spawn(batch_of(*queue, lingering_out, 10, 1h));
        co_await sapwood::yield();
        co_await queue->send(1);
        co_await queue->send(2);
        queue->close();
        queue.reset();
        CHECK(co_await receiver == 1);
        CHECK(co_await lingering == 1);
        CHECK(out == std::vector{1});
        CHECK(lingering_out == std::vector{2});
    }

    TEST_CASE("receive_many of no item hits the assertion") {
        auto misuse = []() -> task<> {
            channel<int> queue(1);
            std::vector<int> out;
            (void)co_await queue.receive_many(out, 0);
        };
        CHECK(last_words([&] { sapwood::test::run_virtual(misuse()); }) ==
              doctest::Contains("at most no item"));
    }
}
