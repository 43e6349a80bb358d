// Operations on a ring that a script plays: interruptions, cancel races, full queues.
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/scripted_ring.hpp"

#include <sapwood/channel.hpp>
#include <sapwood/file.hpp>
#include <sapwood/sanitizers.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/unix_socket.hpp>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

namespace {

using namespace std::chrono_literals;
using sapwood::as_result;
using sapwood::task;
using sapwood::test::scripted_ring;

using reply = std::optional<std::int32_t>;

/// A loop on a scripted ring, and a file whose operations the script answers.
class stage {
  public:
    explicit stage(scripted_ring::options options = {})
        : stage(std::make_unique<scripted_ring>(options)) {}

    stage(const stage&) = delete;
    stage& operator=(const stage&) = delete;

    /// The loop's end is not the script's any more, whose variables are gone.
    ~stage() {
        ring.answer = nullptr;
        ring.answer_cancel = nullptr;
        ring.interrupt = nullptr;
    }

    /// How operations on `file` are answered; the loop's own stay in flight.
    void answer(std::function<reply(const io_uring_sqe&)> how) {
        ring.answer = [this, how = std::move(how)](const io_uring_sqe& sqe) {
            const bool is_ours = sqe.fd == fd || sqe.opcode == IORING_OP_OPENAT;
            return is_ours ? how(sqe) : reply();
        };
    }

    void run(const std::function<task<>()>& body) { loop.run(body()); }

    /// How many operations on `file` the ring has and has not answered.
    [[nodiscard]] std::size_t in_flight() const {
        std::size_t count = 0;
        for (const auto& sqe : ring.in_flight()) {
            count += sqe.fd == fd ? 1 : 0;
        }
        return count;
    }

    [[nodiscard]] std::uint64_t newest() const { return ring.in_flight().back().user_data; }

    scripted_ring& ring;
    sapwood::event_loop loop;
    const int fd = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    sapwood::file file{fd};
    std::array<char, 16> bytes{};

  private:
    explicit stage(std::unique_ptr<scripted_ring> made) : ring(*made), loop(std::move(made)) {}
};

task<std::size_t> read(stage& on) {
    co_return co_await on.file.read_some(on.bytes);
}

/// An operation that looks after nothing itself: what the loop checks is all there is.
class message_op final : public sapwood::op<message_op, std::int32_t> {
  public:
    message_op(int fd, msghdr& message) noexcept : fd_(fd), message_(message) {}

    void prepare(io_uring_sqe& sqe) noexcept override {
        ::io_uring_prep_recvmsg(&sqe, fd_, &message_, 0);
    }

    std::int32_t convert(std::int32_t bytes) const noexcept { return bytes; }

    std::string describe() const override { return "a message"; }

  private:
    int fd_;
    msghdr& message_;
};

/// Lets the loop submit what is staged and the tasks see what came of it.
task<> settle() {
    for (int i = 0; i < 4; ++i) {
        co_await sapwood::yield();
    }
}

} // namespace

TEST_SUITE("op") {

    TEST_CASE("an operation that was interrupted before it did anything starts again") {
        stage on;
        int attempts = 0;
        on.answer([&](const io_uring_sqe&) { return ++attempts < 4 ? -EINTR : 5; });
        on.run([&]() -> task<> { CHECK(co_await on.file.read_some(on.bytes) == 5); });
        CHECK(attempts == 4);
    }

    TEST_CASE("the kernel's inner names for an interruption mean an interruption") {
        stage on;
        int attempts = 0;
        on.answer([&](const io_uring_sqe&) {
            ++attempts;
            return attempts <= 5 ? -511 - attempts : 5; // ERESTARTSYS to ERESTART_RESTARTBLOCK
        });
        on.run([&]() -> task<> { CHECK(co_await on.file.read_some(on.bytes) == 5); });
        CHECK(attempts == 6);
    }

    TEST_CASE(
        "an operation that the kernel gave up and nobody cancelled starts again, not for ever") {
        for (const int fails : {1, 100, 101}) {
            CAPTURE(fails);
            stage on;
            int attempts = 0;
            on.answer([&](const io_uring_sqe&) { return ++attempts <= fails ? -ECANCELED : 5; });
            on.run([&]() -> task<> {
                const auto got = co_await sapwood::as_result(on.file.read_some(on.bytes));
                const auto given_up = make_error_code(std::errc::operation_canceled);
                CHECK(got.error() == (fails > 100 ? given_up : std::error_code()));
            });
            CHECK(attempts == std::min(fails + 1, 101));
        }
    }

    TEST_CASE("close waits for an operation that was interrupted and has started again") {
        stage on;
        int reads = 0;
        int closes = 0;
        on.answer([&](const io_uring_sqe& sqe) -> reply {
            if (sqe.opcode == IORING_OP_CLOSE) {
                ++closes;
                return 0;
            }
            return ++reads == 1 ? reply(-EINTR) : std::nullopt;
        });
        on.run([&]() -> task<> {
            auto reader = sapwood::spawn(read(on));
            co_await settle();
            CHECK(reads == 2);
            auto close = [&]() -> task<> { co_await on.file.close(); };
            auto closer = sapwood::spawn(close());
            co_await settle();
            CHECK(closes == 0);
            on.ring.complete(on.newest(), 3);
            CHECK(co_await reader == 3);
            co_await closer;
            CHECK(closes == 1);
        });
    }

    TEST_CASE("a close that was interrupted is not repeated: the descriptor may be another's") {
        stage on;
        int closes = 0;
        on.answer([&](const io_uring_sqe&) -> reply { return ++closes == 1 ? -EINTR : 0; });
        on.run([&]() -> task<> {
            const auto closed = co_await as_result(on.file.close());
            CHECK(closed.error() == std::errc::interrupted);
        });
        CHECK(closes == 1);
        CHECK_FALSE(on.file.is_open());
        ::close(on.fd);
    }

    TEST_CASE("an operation's error names what was tried and the kernel's reason") {
        stage on;
        on.answer([](const io_uring_sqe&) { return -EIO; });
        on.run([&]() -> task<> {
            std::string message;
            std::error_code code;
            try {
                (void)co_await on.file.read_some(on.bytes);
            } catch (const std::system_error& failure) {
                message = failure.what();
                code = failure.code();
            }
            CHECK(code == std::errc::io_error);
            CHECK(message ==
                  "read of file descriptor " + std::to_string(on.fd) + ": Input/output error");
        });
    }

    TEST_CASE("a cancelled operation throws after the kernel has let go of it, not before") {
        bool asked = false;
        stage on;
        on.answer([](const io_uring_sqe&) { return reply(); });
        on.ring.answer_cancel = [&](const io_uring_sqe& sqe) {
            asked = asked || sqe.fd == on.fd;
            return -ECANCELED;
        };
        on.run([&]() -> task<> {
            auto reader = sapwood::spawn(read(on));
            co_await settle();
            CHECK(on.in_flight() == 1);
            reader.cancel();
            CHECK_FALSE(reader.done());
            CHECK_FALSE(asked);
            CHECK_THROWS_AS(co_await reader, sapwood::cancelled);
            CHECK(asked);
            CHECK(on.in_flight() == 0);
        });
    }

    TEST_CASE("a request to cancel that the kernel has lost is made again") {
        int requests = 0;
        stage on;
        on.answer([](const io_uring_sqe&) { return reply(); });
        on.ring.answer_cancel = [&](const io_uring_sqe& sqe) {
            requests += sqe.fd == on.fd ? 1 : 0;
            return sqe.fd == on.fd && requests < 3 ? reply() : reply(-ECANCELED);
        };
        on.run([&]() -> task<> {
            auto reader = sapwood::spawn(read(on));
            co_await settle();
            const auto start = on.ring.now();
            reader.cancel();
            CHECK_THROWS_AS(co_await reader, sapwood::cancelled);
            CHECK(requests == 3);
            CHECK(on.ring.now() - start < std::chrono::seconds(1));
        });
    }

    TEST_CASE(
        "a cancelled operation that a worker gave up with EINTR throws and does not restart") {
        stage on;
        int attempts = 0;
        on.answer([&](const io_uring_sqe&) {
            ++attempts;
            return reply();
        });
        on.ring.answer_cancel = [](const io_uring_sqe&) { return -EINTR; };
        // The loop's own read is cancelled in the same way when the loop ends.
        on.run([&]() -> task<> {
            auto reader = sapwood::spawn(read(on));
            co_await settle();
            reader.cancel();
            CHECK_THROWS_AS(co_await reader, sapwood::cancelled);
        });
        CHECK(attempts == 1);
    }

    TEST_CASE("a cancelled read that had bytes returns them; the request comes at the next wait") {
        stage on;
        on.answer([](const io_uring_sqe&) { return reply(); });
        on.ring.answer_cancel = [&](const io_uring_sqe& sqe) {
            return sqe.fd == on.fd ? 7 : -ECANCELED;
        };
        on.run([&]() -> task<> {
            std::size_t got = 0;
            auto read_twice = [&]() -> task<> {
                got = co_await on.file.read_some(on.bytes);
                (void)co_await on.file.read_some(on.bytes);
            };
            auto reader = sapwood::spawn(read_twice());
            co_await settle();
            reader.cancel();
            CHECK_THROWS_AS(co_await reader, sapwood::cancelled);
            CHECK(got == 7);
        });
    }

    TEST_CASE("a completion that was there before the request to stop counts") {
        stage on;
        on.answer([](const io_uring_sqe&) { return reply(); });
        on.run([&]() -> task<> {
            auto reader = sapwood::spawn(read(on));
            co_await settle();
            on.ring.complete(on.newest(), 9);
            reader.cancel(); // the kernel is asked about an operation it no longer has
            CHECK(co_await reader == 9);
        });
    }

    TEST_CASE("a cancelled open that has won the race closes what it got") {
        stage on;
        const int won = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        REQUIRE(won >= 0);
        on.answer([](const io_uring_sqe&) { return reply(); });
        on.ring.answer_cancel = [&](const io_uring_sqe& sqe) {
            return sqe.opcode == IORING_OP_OPENAT ? won : -ECANCELED;
        };
        on.run([&]() -> task<> {
            auto open = [&]() -> task<> { (void)co_await sapwood::file::open("/dev/null"); };
            auto opener = sapwood::spawn(open());
            co_await settle();
            opener.cancel();
            CHECK_THROWS_AS(co_await opener, sapwood::cancelled);
        });
        CHECK(::fcntl(won, F_GETFD) == -1);
    }

    TEST_CASE("ECANCELED that nobody asked for is an error and not a request to stop") {
        stage on;
        on.answer([](const io_uring_sqe&) { return -ECANCELED; });
        on.run([&]() -> task<> {
            CHECK_THROWS_AS((void)co_await on.file.read_some(on.bytes), std::system_error);
        });
    }

    TEST_CASE("a task with a pending request does not start an operation, but it can close") {
        stage on;
        std::vector<std::uint8_t> started;
        on.answer([&](const io_uring_sqe& sqe) -> reply {
            started.push_back(sqe.opcode);
            return 0;
        });
        on.run([&]() -> task<> {
            sapwood::join_handle<void> handle;
            auto clean_up = [&]() -> task<> {
                handle.cancel();
                CHECK_THROWS_AS((void)co_await on.file.read_some(on.bytes), sapwood::cancelled);
                handle.cancel();
                co_await on.file.close();
                co_await sapwood::sleep_for(1h);
            };
            handle = sapwood::spawn(clean_up());
            CHECK_THROWS_AS(co_await handle, sapwood::cancelled);
        });
        CHECK(started == std::vector<std::uint8_t>{IORING_OP_CLOSE});
        ::close(on.fd);
    }

    TEST_CASE("a completion only makes its task ready: tasks run in the order of completions") {
        stage on;
        on.answer([](const io_uring_sqe&) { return reply(); });
        on.run([&]() -> task<> {
            std::vector<int> order;
            auto read_noting = [&](int number) -> task<> {
                (void)co_await on.file.read_some(on.bytes);
                order.push_back(number);
                co_await sapwood::yield();
                order.push_back(number);
            };
            auto first = sapwood::spawn(read_noting(1));
            auto second = sapwood::spawn(read_noting(2));
            co_await settle();
            const auto pending = on.ring.in_flight();
            on.ring.complete(pending[pending.size() - 1].user_data, 1);
            on.ring.complete(pending[pending.size() - 2].user_data, 1);
            CHECK(order.empty());
            co_await first;
            co_await second;
            CHECK(order == std::vector{2, 1, 2, 1});
        });
    }

    TEST_CASE("a ring of 4 entries takes a hundred operations of one turn, in several enters") {
        stage on({.sq_entries = 4, .cq_entries = 256});
        on.answer([](const io_uring_sqe& sqe) { return static_cast<std::int32_t>(sqe.len); });
        on.run([&]() -> task<> {
            std::vector<sapwood::join_handle<std::size_t>> readers;
            for (int i = 0; i < 100; ++i) {
                readers.push_back(sapwood::spawn(read(on)));
            }
            std::size_t bytes = 0;
            for (auto& reader : readers) {
                bytes += co_await reader;
            }
            CHECK(bytes == 1600);
        });
        CHECK(on.ring.enters() >= 25);
    }

    TEST_CASE("completions that overflow the queue are kept and all arrive") {
        stage on({.sq_entries = 64, .cq_entries = 4});
        on.answer([](const io_uring_sqe& sqe) { return static_cast<std::int32_t>(sqe.len); });
        on.run([&]() -> task<> {
            std::vector<sapwood::join_handle<std::size_t>> readers;
            for (int i = 0; i < 64; ++i) {
                readers.push_back(sapwood::spawn(read(on)));
            }
            std::size_t bytes = 0;
            for (auto& reader : readers) {
                bytes += co_await reader;
            }
            CHECK(bytes == 64 * 16);
        });
    }

    TEST_CASE("an operation that still waits for an SQE is cancelled without the kernel") {
        stage on({.sq_entries = 4, .cq_entries = 256});
        int submitted = 0;
        bool stuck = false;
        on.ring.interrupt = [&] { return !stuck; };
        on.answer([&](const io_uring_sqe&) {
            ++submitted;
            return reply();
        });
        on.run([&]() -> task<> {
            std::vector<sapwood::join_handle<std::size_t>> readers;
            for (int i = 0; i < 10; ++i) {
                readers.push_back(sapwood::spawn(read(on)));
            }
            stuck = true;
            co_await sapwood::yield();
            for (auto& reader : readers) {
                reader.cancel();
            }
            stuck = false;
            for (auto& reader : readers) {
                CHECK_THROWS_AS((void)co_await reader, sapwood::cancelled);
            }
            CHECK(submitted == 4);
        });
    }

    TEST_CASE("tasks that are always ready do not keep operations that wait for an SQE waiting") {
        stage on({.sq_entries = 4, .cq_entries = 256});
        on.answer([](const io_uring_sqe& sqe) { return static_cast<std::int32_t>(sqe.len); });
        on.run([&]() -> task<> {
            std::vector<sapwood::join_handle<std::size_t>> readers;
            for (int i = 0; i < 50; ++i) {
                readers.push_back(sapwood::spawn(read(on)));
            }
            for (int turn = 0; turn < 100; ++turn) {
                co_await sapwood::yield();
            }
            for (auto& reader : readers) {
                CHECK(reader.done());
            }
        });
    }

    TEST_CASE("tasks that are always ready do not keep a request to cancel from the kernel") {
        stage on;
        on.answer([](const io_uring_sqe&) { return reply(); });
        on.run([&]() -> task<> {
            auto reader = sapwood::spawn(read(on));
            co_await settle();
            reader.cancel();
            for (int turn = 0; turn < 10; ++turn) {
                co_await sapwood::yield();
            }
            CHECK(reader.done());
        });
    }

    TEST_CASE("requests to cancel wait for SQEs as well, and all get through") {
        stage on({.sq_entries = 4, .cq_entries = 256});
        on.answer([](const io_uring_sqe&) { return reply(); });
        on.run([&]() -> task<> {
            std::vector<sapwood::join_handle<std::size_t>> readers;
            for (int i = 0; i < 50; ++i) {
                readers.push_back(sapwood::spawn(read(on)));
            }
            for (int turn = 0; turn < 50; ++turn) {
                co_await sapwood::yield();
            }
            CHECK(on.in_flight() == 50);
            for (auto& reader : readers) {
                reader.cancel();
            }
            for (auto& reader : readers) {
                CHECK_THROWS_AS((void)co_await reader, sapwood::cancelled);
            }
            CHECK(on.in_flight() == 0);
        });
    }

    TEST_CASE("an enter that returns early with nothing submitted is repeated until all is in") {
        stage on;
        int interruptions = 100;
        on.ring.interrupt = [&] { return --interruptions < 0; };
        on.answer([](const io_uring_sqe&) { return 5; });
        on.run([&]() -> task<> { CHECK(co_await on.file.read_some(on.bytes) == 5); });
        CHECK(interruptions < 0);
    }

    TEST_CASE("an enter that returns early does not make a timer fire early") {
        stage on;
        int interruptions = 100;
        on.ring.interrupt = [&] { return --interruptions < 0; };
        on.run([&]() -> task<> {
            const auto before = on.loop.now();
            co_await sapwood::sleep_for(1h);
            CHECK(on.loop.now() - before == 1h);
        });
        CHECK(interruptions < 0);
    }

    TEST_CASE("a truncation the kernel's ring does not know is done without it") {
        stage on;
        int asked = 0;
        on.answer([&](const io_uring_sqe&) {
            ++asked;
            return -EINVAL;
        });
        on.run([&]() -> task<> {
            // /dev/null cannot be truncated: this EINVAL is ftruncate's own.
            const auto cut = co_await as_result(on.file.truncate(0));
            CHECK(cut.error() == std::errc::invalid_argument);
        });
        CHECK(asked == 1);
    }

    TEST_CASE("write_all continues a short write where it ended, and repeats an interrupted one") {
        stage on;
        std::vector<std::pair<std::uint64_t, unsigned>> writes;
        on.answer([&](const io_uring_sqe& sqe) -> reply {
            writes.emplace_back(sqe.off, sqe.len);
            return writes.size() == 2 ? -EINTR
                                      : std::min<std::int32_t>(4, static_cast<int>(sqe.len));
        });
        on.run([&]() -> task<> {
            co_await on.file.write_all(std::string_view("0123456789"), sapwood::file_offset{100});
        });
        CHECK(writes == std::vector<std::pair<std::uint64_t, unsigned>>{
                            {100, 10}, {104, 6}, {104, 6}, {108, 2}});
    }

    TEST_CASE("write_all says so where writes make no progress") {
        stage on;
        on.answer([](const io_uring_sqe&) { return 0; });
        on.run([&]() -> task<> {
            CHECK_THROWS_WITH_AS(co_await on.file.write_all(std::string_view("text")),
                                 doctest::Contains("made no progress"), std::system_error);
        });
    }

    TEST_CASE("memory that is freed while the kernel has it ends the program, in sanitizer builds" *
              doctest::skip(!SAPWOOD_ADDRESS_SANITIZER)) {
        enum class when : std::uint8_t { before, meanwhile, afterwards };
        const auto receive = [](when freed) {
            return [freed] {
                auto body = [freed]() -> task<> {
                    auto [left, right] = sapwood::unix_stream::make_pair();
                    auto bytes = std::make_unique<std::array<char, 64>>();
                    iovec part{.iov_base = bytes.get(), .iov_len = bytes->size()};
                    msghdr message{};
                    message.msg_iov = &part;
                    message.msg_iovlen = 1;
                    auto wait = [&]() -> task<> { (void)co_await message_op(right.fd(), message); };
                    auto waiting = sapwood::spawn(wait());
                    if (freed == when::before) {
                        bytes.reset();
                    }
                    co_await settle();
                    if (freed == when::meanwhile) {
                        bytes.reset();
                    }
                    co_await left.write_all(std::string_view("x"));
                    co_await waiting;
                };
                sapwood::run(body());
            };
        };
        const doctest::Contains told("memory was freed while the kernel had it");
        // poll_ring makes the call itself, where the sanitizer sees it.
        const char* const ring = std::getenv("SAPWOOD_RING");
        const bool is_seen = ring != nullptr && std::string_view(ring) == "poll";
        const doctest::Contains told_late(is_seen ? "heap-use-after-free"
                                                  : "memory was freed while the kernel had it");
        CHECK(sapwood::test::last_words(receive(when::before)) == told);
        CHECK(sapwood::test::last_words(receive(when::meanwhile)) == told_late);
        CHECK(sapwood::test::last_words(receive(when::afterwards)) != told);
    }
}
