// remote_sender<T>: items of other threads. Real threads; clean under ThreadSanitizer.
#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/co_test.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/remote_sender.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::channel;
using sapwood::remote_sender;
using sapwood::task;
using sapwood::test::last_words;

/// What a send that throws throws.
template <class F>
std::error_code code_of(F&& send) {
    try {
        send();
    } catch (const std::system_error& failure) {
        return failure.code();
    }
    return {};
}

/// Threads that are joined at the end of the scope.
class threads {
  public:
    threads() = default;
    threads(const threads&) = delete;
    threads& operator=(const threads&) = delete;

    ~threads() { join(); }

    template <class F>
    void start(F&& body) {
        all_.emplace_back(std::forward<F>(body));
    }

    void join() {
        for (auto& each : all_) {
            each.join();
        }
        all_.clear();
    }

  private:
    std::vector<std::thread> all_;
};

} // namespace

TEST_SUITE("remote_sender") {

    CO_TEST_CASE("what many threads send comes out exactly once, each thread's in order") {
        constexpr int senders = 8;
        constexpr int each = 3000;
        channel<std::pair<int, int>> queue(16);
        threads running;
        {
            remote_sender<std::pair<int, int>> door(queue, 32);
            for (int number = 0; number < senders; ++number) {
                running.start([door, number]() mutable {
                    for (int item = 0; item < each; ++item) {
                        door.send({number, item});
                    }
                });
            }
        }
        std::vector<int> next(senders, 0);
        int out_of_order = 0;
        for (int i = 0; i < senders * each; ++i) {
            const auto [number, item] = co_await queue.receive();
            auto& expected = next[static_cast<std::size_t>(number)];
            out_of_order += item == expected ? 0 : 1;
            expected = item + 1;
        }
        running.join();
        CHECK(out_of_order == 0);
        CHECK(next == std::vector<int>(senders, each));
        CHECK(queue.empty());
    }

    CO_TEST_CASE("several doors and the loop's own tasks share one channel") {
        constexpr int each = 1000;
        channel<int> queue(4);
        threads running;
        for (int i = 0; i < 3; ++i) {
            running.start([door = remote_sender<int>(queue, 2)]() mutable {
                for (int item = 0; item < each; ++item) {
                    door.send(1);
                }
            });
        }
        auto send_locally = [&]() -> task<> {
            for (int item = 0; item < each; ++item) {
                co_await queue.send(1);
            }
        };
        auto local = sapwood::spawn(send_locally());
        int sum = 0;
        for (int i = 0; i < 4 * each; ++i) {
            sum += co_await queue.receive();
            queue.task_done();
        }
        co_await local;
        co_await queue.join();
        CHECK(sum == 4 * each);
        CHECK(queue.empty());
    }

    CO_TEST_CASE("a door takes no more than its room until the loop makes some") {
        channel<int> queue(2);
        remote_sender<int> door(queue, 3);
        int accepted = 0;
        while (door.try_send(int(accepted))) {
            ++accepted;
        }
        CHECK(accepted == 3);
        for (int turn = 0; turn < 20; ++turn) {
            co_await sapwood::yield();
            while (door.try_send(int(accepted))) {
                ++accepted;
            }
        }
        // The channel is full, and so are the door's two halves: the one that takes items in and
        // the one that the loop is feeding to the channel.
        CHECK(accepted <= 2 + 2 * 3);
        for (int item = 0; item < accepted; ++item) {
            CHECK(co_await queue.receive() == item);
        }
        CHECK(queue.empty());
    }

    CO_TEST_CASE("try_send where there is no room leaves the value with its owner") {
        channel<std::string> queue(1);
        remote_sender<std::string> door(queue, 1);
        CHECK(door.try_send("first"));
        std::string value = "mine";
        CHECK_FALSE(door.try_send(std::move(value)));
        CHECK(value == "mine");
        CHECK(co_await queue.receive() == "first");
    }

    CO_TEST_CASE("send_for gives up in time and leaves the value with its owner") {
        channel<std::string> queue(1);
        co_await queue.send("in the way");
        remote_sender<std::string> door(queue, 1);
        std::string value = "mine";
        std::atomic<bool> sent = true;
        CHECK(door.try_send("also in the way"));
        // No turn of the loop in between: there is no room.
        std::thread([&] { sent = door.send_for(std::move(value), 1ms); }).join();
        CHECK_FALSE(sent);
        CHECK(value == "mine");
        std::thread([&] { sent = door.send_for(std::move(value), 0ms); }).join();
        CHECK_FALSE(sent);
        CHECK(co_await queue.receive() == "in the way");
        CHECK(co_await queue.receive() == "also in the way");
        threads running;
        running.start([&] { sent = door.send_for(std::move(value), 1h); });
        CHECK(co_await queue.receive() == "mine");
        running.join();
        CHECK(sent);
    }

    CO_TEST_CASE("a close throws at threads that block, who keep their values") {
        channel<std::string> queue(1);
        remote_sender<std::string> door(queue, 1);
        std::atomic<int> blocked = 0;
        std::atomic<int> refused = 0;
        std::atomic<int> kept = 0;
        CHECK(door.try_send("accepted"));
        threads running;
        for (int i = 0; i < 4; ++i) {
            running.start([&, door]() mutable {
                std::string value = "mine";
                ++blocked;
                try {
                    if (door.send_for(std::move(value), 1h)) {
                        return;
                    }
                } catch (const std::system_error& failure) {
                    refused += failure.code() == std::errc::no_space_on_device ? 1 : 0;
                    kept += value == "mine" ? 1 : 0;
                }
            });
        }
        while (blocked < 4) {
            std::this_thread::yield();
        }
        // No turn of the loop has made room.
        queue.close(std::make_error_code(std::errc::no_space_on_device));
        running.join();
        CHECK(refused == 4);
        CHECK(kept == 4);
        CHECK(co_await queue.receive() == "accepted");
    }

    CO_TEST_CASE("what was accepted before the close is delivered, then receives throw") {
        channel<int> queue(2);
        remote_sender<int> door(queue, 5);
        for (int item = 0; item < 5; ++item) {
            CHECK(door.try_send(int(item)));
        }
        queue.close();
        CHECK(code_of([&] { (void)door.try_send(9); }) == sapwood::errc::closed);
        for (int item = 0; item < 5; ++item) {
            CHECK(co_await queue.receive() == item);
        }
        CHECK_THROWS_AS((void)co_await queue.receive(), std::system_error);
    }

    CO_TEST_CASE("what the loop had fetched from a door before the close is delivered as well") {
        channel<int> queue(1);
        remote_sender<int> door(queue, 3);
        for (int item = 0; item < 3; ++item) {
            CHECK(door.try_send(int(item)));
        }
        co_await sapwood::yield(); // the channel has the first, the door waits with the second
        CHECK(queue.size() == 1);
        queue.close();
        for (int item = 0; item < 3; ++item) {
            CHECK(co_await queue.receive() == item);
        }
        CHECK_THROWS_AS((void)co_await queue.receive(), std::system_error);
    }

    CO_TEST_CASE(
        "where those that wait are refused a door stays in line with what it has accepted") {
        channel<int> queue(1);
        remote_sender<int> first(queue, 2);
        remote_sender<int> second(queue, 1);
        CHECK(first.try_send(1));
        CHECK(first.try_send(3));
        co_await sapwood::yield(); // the channel has 1, the first door waits with 3
        std::error_code why;
        auto send = [&]() -> task<> { why = (co_await as_result(queue.send(4))).error(); };
        auto sender = sapwood::spawn(send());
        CHECK(second.try_send(5));
        co_await sapwood::yield();
        CHECK(first.try_send(6)); // its other half: nobody has told the loop to fetch it
        CHECK(first.try_send(7));
        CHECK_FALSE(first.try_send(8));

        queue.refuse_waiting(std::make_error_code(std::errc::no_space_on_device));
        co_await sender;
        CHECK(why == std::errc::no_space_on_device);
        std::vector<int> got;
        while (const auto item = queue.try_receive()) {
            got.push_back(*item);
        }
        CHECK(got == std::vector{1, 3, 5, 6, 7});
        CHECK(first.try_send(8));
        CHECK(co_await queue.receive() == 8);
    }

    CO_TEST_CASE("a door that stayed in line delivers what it has when the channel is closed") {
        channel<int> queue(1);
        remote_sender<int> door(queue, 3);
        for (int item = 0; item < 3; ++item) {
            CHECK(door.try_send(int(item)));
        }
        co_await sapwood::yield();
        queue.refuse_waiting(std::make_error_code(std::errc::no_space_on_device));
        queue.close();
        for (int item = 0; item < 3; ++item) {
            CHECK(co_await queue.receive() == item);
        }
        CHECK_THROWS_AS((void)co_await queue.receive(), std::system_error);
    }

    CO_TEST_CASE("a receiver that waits at the close gets what is behind the door") {
        channel<int> queue(1);
        std::optional<remote_sender<int>> door;
        std::vector<int> got;
        bool ended = false;
        auto receive = [&]() -> task<> {
            try {
                for (;;) {
                    got.push_back(co_await queue.receive());
                }
            } catch (const std::system_error&) {
                ended = true;
            }
        };
        auto receiver = sapwood::spawn(receive());
        co_await sapwood::yield();
        door.emplace(queue, 3);
        for (int item = 0; item < 3; ++item) {
            CHECK(door->try_send(int(item)));
        }
        queue.close();
        co_await receiver;
        CHECK(got == std::vector{0, 1, 2});
        CHECK(ended);
    }

    CO_TEST_CASE("a close while threads send at full speed loses nothing that was accepted") {
        for (int round = 0; round < 20; ++round) {
            channel<int> queue(4);
            std::atomic<int> accepted = 0;
            threads running;
            {
                remote_sender<int> door(queue, 8);
                for (int i = 0; i < 3; ++i) {
                    running.start([&accepted, door]() mutable {
                        try {
                            for (;;) {
                                door.send(1);
                                ++accepted;
                            }
                        } catch (const std::system_error&) {
                        }
                    });
                }
            }
            int received = 0;
            for (; received < 50 * round; ++received) {
                (void)co_await queue.receive();
            }
            queue.close();
            while (co_await sapwood::as_result(queue.receive())) {
                ++received;
            }
            running.join();
            CHECK(received == accepted);
        }
    }

    CO_TEST_CASE("join counts what is behind the door") {
        channel<int> queue(1);
        remote_sender<int> door(queue, 3);
        for (int item = 0; item < 3; ++item) {
            CHECK(door.try_send(int(item)));
        }
        bool joined = false;
        auto join = [&]() -> task<> {
            co_await queue.join();
            joined = true;
        };
        auto joiner = sapwood::spawn(join());
        for (int item = 0; item < 3; ++item) {
            co_await sapwood::yield();
            CHECK_FALSE(joined);
            (void)co_await queue.receive();
            queue.task_done();
        }
        co_await joiner;
        CHECK(joined);
    }

    CO_TEST_CASE("join counts what is behind the door when nothing has come in yet") {
        channel<int> queue(1);
        remote_sender<int> door(queue, 1);
        bool done = false;
        auto consume = [&]() -> task<> {
            (void)co_await queue.receive();
            done = true;
            queue.task_done();
        };
        auto consumer = sapwood::spawn(consume());
        CHECK(door.try_send(1));
        CHECK(queue.unfinished() == 0);
        co_await queue.join();
        CHECK(done);
        co_await consumer;
    }

    TEST_CASE("senders may outlive channel and loop and are refused then") {
        std::optional<remote_sender<int>> door;
        auto open = [&]() -> task<> {
            channel<int> queue(1);
            door.emplace(queue, 2);
            CHECK(door->try_send(1)); // never received: goes with the channel
            co_await sapwood::yield();
        };
        sapwood::run(open());
        CHECK(code_of([&] { (void)door->try_send(2); }) == sapwood::errc::closed);
        std::error_code code;
        std::thread([&, copy = *door]() mutable { code = code_of([&] { copy.send(3); }); }).join();
        CHECK(code == sapwood::errc::closed);
    }

    TEST_CASE("senders may outlive the loop alone and are refused then") {
        channel<int> queue(1);
        std::optional<remote_sender<int>> door;
        auto open = [&]() -> task<> {
            door.emplace(queue, 2);
            co_return;
        };
        sapwood::run(open());
        CHECK(code_of([&] { (void)door->try_send(2); }) == sapwood::errc::closed);
        door.reset();
        CHECK(queue.empty());
    }

    TEST_CASE("threads that block when the channel is destroyed are refused") {
        std::atomic<int> refused = 0;
        threads running;
        auto leave = [&]() -> task<> {
            channel<int> queue(1);
            remote_sender<int> door(queue, 1);
            std::atomic<int> started = 0;
            for (int i = 0; i < 3; ++i) {
                running.start([&refused, &started, door]() mutable {
                    ++started;
                    refused += code_of([&] {
                                   for (;;) {
                                       door.send(1);
                                   }
                               }) == sapwood::errc::closed
                                   ? 1
                                   : 0;
                });
            }
            while (started < 3) {
                co_await sapwood::yield();
            }
        };
        sapwood::run(leave());
        running.join();
        CHECK(refused == 3);
    }

    CO_TEST_CASE("a door whose last copy is gone delivers what it has and is released") {
        channel<int> queue(1);
        const auto open_and_drop = [&] {
            remote_sender<int> door(queue, 3);
            for (int item = 0; item < 3; ++item) {
                CHECK(door.try_send(int(item)));
            }
        };
        auto drain = [&]() -> task<> {
            for (int item = 0; item < 3; ++item) {
                CHECK(co_await queue.receive() == item);
            }
            co_await sapwood::yield();
        };
        open_and_drop();
        co_await drain();
        const auto before = sapwood::test::allocations_alive();
        for (int i = 0; i < 10; ++i) {
            open_and_drop();
            co_await drain();
        }
        CHECK(sapwood::test::allocations_alive() == before);
    }

    CO_TEST_CASE("a door that was never used is released with its last copy, on whatever thread") {
        channel<int> queue(1);
        const auto before = sapwood::test::allocations_alive();
        std::thread([door = remote_sender<int>(queue, 3)] { (void)door; }).join();
        co_await sapwood::yield();
        co_await sapwood::yield();
        CHECK(sapwood::test::allocations_alive() == before);
    }

    CO_TEST_CASE("items may be move-only, and those nobody received are destroyed") {
        const auto token = std::make_shared<int>(1);
        {
            channel<std::unique_ptr<std::shared_ptr<int>>> queue(1);
            remote_sender<std::unique_ptr<std::shared_ptr<int>>> door(queue, 3);
            for (int i = 0; i < 3; ++i) {
                CHECK(door.try_send(std::make_unique<std::shared_ptr<int>>(token)));
            }
            co_await sapwood::yield();
            const auto item = co_await queue.receive();
            CHECK(*item == token);
        }
        co_await sapwood::yield();
        CHECK(token.use_count() == 1);
    }

    TEST_CASE("a blocking send on the loop's own thread hits the assertion") {
        auto misuse = [](bool timed) -> task<> {
            channel<int> queue(1);
            remote_sender<int> door(queue);
            if (timed) {
                (void)door.send_for(1, 1s);
            } else {
                door.send(1);
            }
            co_return;
        };
        CHECK(last_words([&] { sapwood::run(misuse(false)); }) ==
              doctest::Contains("a blocking send on the loop's own thread"));
        CHECK(last_words([&] { sapwood::run(misuse(true)); }) ==
              doctest::Contains("a blocking send on the loop's own thread"));
    }

    TEST_CASE("a sender whose loop is gone refuses on the thread that ran the loop, too") {
        std::optional<remote_sender<int>> door;
        sapwood::run([&]() -> task<> {
            channel<int> queue(1);
            door.emplace(queue);
            co_return;
        });
        CHECK_THROWS_AS(door->send(1), std::system_error);
        CHECK_THROWS_AS((void)door->send_for(1, 1h), std::system_error);
        CHECK_THROWS_AS((void)door->try_send(1), std::system_error);
    }

    TEST_CASE("using a sender that was moved from hits the assertion") {
        auto misuse = []() -> task<> {
            channel<int> queue(1);
            remote_sender<int> door(queue);
            const auto other = std::move(door);
            (void)door.try_send(1);
            co_return;
        };
        CHECK(last_words([&] { sapwood::run(misuse()); }) ==
              doctest::Contains("used after it was moved from"));
    }
}
