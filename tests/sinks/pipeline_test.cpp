// pipeline: every record once, whatever producers, disk and loop do.
#include "support/allocations.hpp"
#include "support/child_process.hpp"
#include "support/co_test.hpp"
#include "support/system_calls.hpp"
#include "support/temporary_directory.hpp"
#include "support/unread_standard_error.hpp"

#include <sapwood/frame_pool.hpp>
#include <sapwood/pipeline.hpp>
#include <sapwood/say.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <functional>
#include <liburing.h>
#include <optional>
#include <random>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using namespace std::string_view_literals;
using sapwood::level;
using sapwood::pipeline;
using sapwood::pipeline_options;
using sapwood::record;
using sapwood::task;
using sapwood::test::contents_of;
using sapwood::test::loop_with_writes;
using sapwood::test::perform;
using sapwood::test::perform_some;
using sapwood::test::temporary_directory;

/// Messages as they are, so that a file's contents are easy to tell.
pipeline_options verbatim() {
    pipeline_options options;
    options.form = sapwood::layout::verbatim;
    return options;
}

record text(std::string_view message) {
    return {level::info, 1, message};
}

/// While it exists, coroutines of this thread begin with memory from operator new.
class no_cached_frames {
  public:
    no_cached_frames() {
        using pool = sapwood::detail::frame_pool;
        for (std::size_t each = 1; each < pool::size_classes; ++each) {
            const std::size_t bytes = each * pool::granularity;
            while (sapwood::detail::thread_frames.free[each] != nullptr &&
                   sapwood::detail::thread_frames.free[each]->next != nullptr) {
                taken_.emplace_back(sapwood::detail::allocate_frame(bytes), bytes);
            }
        }
    }

    no_cached_frames(const no_cached_frames&) = delete;
    no_cached_frames& operator=(const no_cached_frames&) = delete;

    ~no_cached_frames() {
        for (const auto& [memory, bytes] : taken_) {
            sapwood::detail::free_frame(memory, bytes);
        }
    }

  private:
    std::vector<std::pair<void*, std::size_t>> taken_;
};

task<pipeline> opened(const std::string& path, pipeline_options options) {
    const sapwood::file_sink_options sink_options{.path = path};
    auto sink = co_await sapwood::file_sink::open(sink_options);
    pipeline log(std::move(sink), options);
    log.on_loss([](const std::string&) {});
    co_return log;
}

task<> append(pipeline& log, std::string message) {
    record item = text(message);
    co_await log.append(std::move(item));
}

/// Appends `first` to `last` as `<name><number>`.
task<> append_numbers(pipeline& log, std::string name, int first, int last) {
    for (int i = first; i <= last; ++i) {
        co_await append(log, fmt::format("{}{}", name, i));
    }
}

task<> flush(pipeline& log) {
    co_await log.flush();
}

task<> room_now(pipeline& log) {
    co_await log.room_now();
}

/// Returns when every other task has got as far as it can without time passing or the disk
/// answering.
task<> settle() {
    for (int turn = 0; turn < 5; ++turn) { // others wait for quiet as well, and take turns
        co_await sapwood::idle(1h);
    }
}

/// How `attempt` failed; empty if it did not.
task<std::string> failure_of(task<> attempt) {
    try {
        co_await std::move(attempt);
    } catch (const std::exception& error) {
        co_return error.what();
    }
    co_return "";
}

std::vector<std::string> lines_of(const std::string& path) {
    std::istringstream file(contents_of(path));
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) {
        lines.push_back(line);
    }
    return lines;
}

/// A disk that keeps each write waiting until it is told to go on.
class slow_disk {
  public:
    template <class T>
    T run(task<T> main) {
        return loop_.run(std::move(main));
    }

    /// The bytes of each write that waits.
    [[nodiscard]] std::vector<std::string> waiting() {
        std::vector<std::string> writes;
        for (const auto& sqe : loop_.ring().in_flight()) {
            if (sqe.opcode == IORING_OP_WRITE) {
                writes.emplace_back(reinterpret_cast<const char*>(sqe.addr), sqe.len);
            }
        }
        return writes;
    }

    /// Does the write that waits.
    void go_on() { finish(&perform); }

    void fail(int error) {
        finish([error](const io_uring_sqe&) { return std::optional(-error); });
    }

  private:
    void finish(const loop_with_writes::write_answer& answer) {
        const auto& all = loop_.ring().in_flight();
        const auto found = std::find_if(all.begin(), all.end(), [](const io_uring_sqe& sqe) {
            return sqe.opcode == IORING_OP_WRITE;
        });
        REQUIRE(found != all.end());
        const io_uring_sqe sqe = *found;
        loop_.ring().complete(sqe.user_data, answer(sqe).value());
    }

    loop_with_writes loop_{[](const io_uring_sqe&) { return std::nullopt; }};
};

} // namespace

TEST_SUITE("pipeline") {
    CO_TEST_CASE(
        "a pipeline for which there is no memory is none, and one for which there is works") {
        const temporary_directory folder;
        const std::string path = folder / "log";
        const sapwood::file_sink_options where{.path = path};
        // Whichever allocation fails, and then with none that does.
        for (std::size_t nth = 1;; ++nth) {
            auto sink = co_await sapwood::file_sink::open(where);
            std::optional<pipeline> log;
            {
                const no_cached_frames each_frame_is_an_allocation;
                const sapwood::test::failing_allocations failing(nth);
                try {
                    log.emplace(std::move(sink), verbatim());
                } catch (const std::bad_alloc&) {
                }
            }
            if (log) {
                CHECK(nth > 2);
                record item = text("one");
                (void)co_await log->append(std::move(item));
                co_await log->close();
                break;
            }
            co_await sapwood::idle(1h); // what had been begun ends
        }
        CHECK(contents_of(folder / "log") == "one\n");
    }

    // --- from producers to the file ---

    CO_TEST_CASE("every record of every producer is in the file once, each producer's in order") {
        const temporary_directory directory;
        const auto path = directory / "log";
        auto options = verbatim();
        options.queue_records = 8;
        options.batch_bytes = 1000;
        auto log = co_await opened(path, std::move(options));
        std::vector<sapwood::join_handle<>> producers;
        for (int id = 0; id < 100; ++id) {
            producers.push_back(
                sapwood::spawn(append_numbers(log, fmt::format("{} ", id), 1, 200)));
        }
        for (auto& producer : producers) {
            co_await producer;
        }
        co_await log.close();

        std::vector<int> last(100, 0);
        const auto lines = lines_of(path);
        CHECK(lines.size() == 100 * 200);
        for (const auto& line : lines) {
            const auto space = line.find(' ');
            const auto id = std::stoul(line.substr(0, space));
            REQUIRE(std::stoi(line.substr(space + 1)) == ++last.at(id));
        }
        const auto counts = log.counts();
        CHECK(counts.records == 100 * 200);
        CHECK(counts.lines_written == 100 * 200);
        CHECK(counts.bytes_written == contents_of(path).size());
        CHECK(counts.lines_lost == 0);
        CHECK(counts.queued == 0);
    }

    CO_TEST_CASE("by default a record becomes one plain line") {
        const temporary_directory directory;
        auto log = co_await opened(directory / "log", {});
        record item(level::error, 7, "two\nlines", record::time_point(1'795'300'796'123ms));
        co_await log.append(std::move(item));
        co_await log.close();
        CHECK(contents_of(log.path()) == "2026-11-21 22:39:56.123 7 error two\\nlines\n");
    }

    TEST_CASE("records of other threads are in the file once, also those that just came in") {
        const temporary_directory directory;
        const auto path = directory / "log";
        constexpr int threads_count = 4;
        constexpr int records_each = 5000;
        const auto main = [](const std::string& to) -> task<> {
            auto log = co_await opened(to, verbatim());
            sapwood::channel<int> ended(threads_count);
            sapwood::remote_sender<int> tell_end(ended);
            std::vector<std::jthread> threads;
            for (int id = 0; id < threads_count; ++id) {
                threads.emplace_back([id, door = log.remote(16), tell_end]() mutable {
                    for (int i = 1; i <= records_each; ++i) {
                        door.send(text(fmt::format("{} {}", id, i)));
                    }
                    tell_end.send(id);
                });
            }
            for (int i = 0; i < threads_count; ++i) {
                (void)co_await ended.receive();
            }
            co_await log.close();
        };
        sapwood::run(main(path));

        std::vector<int> last(threads_count, 0);
        for (const auto& line : lines_of(path)) {
            const auto space = line.find(' ');
            const auto id = std::stoul(line.substr(0, space));
            REQUIRE(std::stoi(line.substr(space + 1)) == ++last.at(id));
        }
        CHECK(last == std::vector<int>(threads_count, records_each));
    }

    // --- batches ---

    CO_TEST_CASE("where the loop has nothing else to do a record is written at once") {
        const temporary_directory directory;
        auto options = verbatim();
        options.linger = 1h;
        auto log = co_await opened(directory / "log", std::move(options));
        const auto before = sapwood::event_loop::current().now();
        co_await append(log, "alone");
        co_await log.flush();
        CHECK(contents_of(log.path()) == "alone\n");
        CHECK(sapwood::event_loop::current().now() == before);
        CHECK(log.counts().batches_written == 1);
    }

    CO_TEST_CASE("what comes in one burst is written in one batch") {
        const temporary_directory directory;
        auto log = co_await opened(directory / "log", verbatim());
        std::vector<sapwood::join_handle<>> producers;
        for (int id = 0; id < 50; ++id) {
            producers.push_back(sapwood::spawn(append_numbers(log, "x", 1, 10)));
        }
        for (auto& producer : producers) {
            co_await producer;
        }
        co_await log.close();
        CHECK(lines_of(log.path()).size() == 500);
        CHECK(log.counts().batches_written == 1);
    }

    TEST_CASE("a full batch is written though the loop is busy and the linger long") {
        const temporary_directory directory;
        std::vector<std::size_t> writes;
        loop_with_writes disk([&](const io_uring_sqe& sqe) {
            writes.push_back(sqe.len);
            return perform(sqe);
        });
        const auto main = [](const std::string& path) -> task<> {
            auto options = verbatim();
            options.batch_bytes = 1000;
            options.linger = 1h;
            auto log = co_await opened(path, std::move(options));
            const std::string message(99, 'x');
            for (int i = 0; i < 95; ++i) {
                co_await append(log, message);
                co_await sapwood::yield();
            }
            CHECK(log.counts().bytes_written >= 8000);
            co_await log.close();
        };
        disk.run(main(directory / "log"));
        REQUIRE(writes.size() >= 9);
        CHECK(std::all_of(writes.begin(), writes.end() - 1,
                          [](std::size_t bytes) { return bytes >= 1000; }));
    }

    TEST_CASE("in a busy loop a record waits for the linger and no longer") {
        const temporary_directory directory;
        // The loop's own clock: only that runs while the loop is busy.
        const auto main = [](const std::string& path) -> task<> {
            auto options = verbatim();
            options.linger = 20ms;
            auto log = co_await opened(path, std::move(options));
            co_await append(log, "x");
            const auto& loop = sapwood::event_loop::current();
            const auto appended = loop.now();
            while (log.counts().lines_written == 0) {
                REQUIRE(loop.now() - appended < 10s);
                co_await sapwood::yield();
            }
            CHECK(loop.now() - appended >= 19ms);
            co_await log.close();
        };
        sapwood::run(main(directory / "log"));
    }

    TEST_CASE("one write is in flight while the next batch fills") {
        const temporary_directory directory;
        slow_disk disk;
        const auto main = [](slow_disk& slow, const std::string& path) -> task<> {
            auto log = co_await opened(path, verbatim());
            co_await append(log, "one");
            co_await settle();
            CHECK(slow.waiting() == std::vector<std::string>{"one\n"});

            // The consumer was waiting for a record when the batch before was taken to be written.
            co_await append(log, "two");
            co_await settle();
            co_await append(log, "three");
            co_await settle();
            CHECK(slow.waiting() == std::vector<std::string>{"one\n"});

            slow.go_on();
            co_await settle();
            CHECK(slow.waiting() == std::vector<std::string>{"two\nthree\n"});
            slow.go_on();
            co_await log.close();
            CHECK(contents_of(path) == "one\ntwo\nthree\n");
            CHECK(log.counts().batches_written == 2);
        };
        disk.run(main(disk, directory / "log"));
    }

    TEST_CASE("while the disk does not answer, the queue fills and producers wait") {
        const temporary_directory directory;
        slow_disk disk;
        const auto main = [](slow_disk& slow, const std::string& path) -> task<> {
            auto options = verbatim();
            options.queue_records = 4;
            options.batch_bytes = 8;
            auto log = co_await opened(path, std::move(options));
            auto producer = sapwood::spawn(append_numbers(log, "record ", 100, 199));
            co_await settle();
            CHECK(!producer.done());
            CHECK(log.counts().queued == 4);
            CHECK(!log.try_append(text("no room")));
            CHECK(log.counts().records < 20);
            while (!producer.done()) {
                if (!slow.waiting().empty()) {
                    slow.go_on();
                }
                co_await sapwood::yield();
            }
            co_await producer;
            auto closing = sapwood::spawn(
                [](pipeline& to_close) -> task<> { co_await to_close.close(); }(log));
            while (!closing.done()) {
                if (!slow.waiting().empty()) {
                    slow.go_on();
                }
                co_await sapwood::yield();
            }
            co_await closing;
            const auto lines = lines_of(path);
            CHECK(lines.size() == 100);
            CHECK(lines.back() == "record 199");
        };
        disk.run(main(disk, directory / "log"));
    }

    TEST_CASE("a record that is appended now stands behind all that were appended before") {
        const temporary_directory directory;
        slow_disk disk;
        const auto main = [](slow_disk& slow, const std::string& path) -> task<> {
            auto options = verbatim();
            options.batch_bytes = 8;
            auto log = co_await opened(path, options);
            const auto append_now = [&log](std::string_view before, std::string_view message) {
                return log.append_now(
                    {sapwood::wall_clock::now(), 1, level::info, before, message});
            };
            CHECK(append_now("", "one") == sapwood::lsn{1});
            co_await append(log, "two");
            CHECK(append_now("th", "ree") == sapwood::lsn::none); // two may be in the channel
            co_await settle();
            CHECK(slow.waiting() == std::vector<std::string>{"one\ntwo\n"});
            CHECK(append_now("th", "ree") == sapwood::lsn{3});
            CHECK(append_now("fou", "r, which is longer than the batch") == sapwood::lsn{4});
            CHECK(append_now("", "five") == sapwood::lsn::none); // it is full
            CHECK(log.counts().accepted == sapwood::lsn{4});
            auto flushing = sapwood::spawn(flush(log));
            slow.go_on();
            co_await settle();
            CHECK(!flushing.done());
            CHECK(log.written(sapwood::lsn{2}).await_ready());
            CHECK(!log.written(sapwood::lsn{3}).await_ready());
            slow.go_on();
            co_await flushing;
            CHECK(log.written(sapwood::lsn{4}).await_ready());
            co_await log.close();
            CHECK(append_now("", "late") == sapwood::lsn::none);
            CHECK(log.counts().records == 4);
            CHECK(log.counts().lines_written == 4);
            CHECK(contents_of(path) == "one\ntwo\nthree\nfour, which is longer than the batch\n");
        };
        disk.run(main(disk, directory / "log"));
    }

    TEST_CASE("who waits for room in the batch has it when the batch is taken, or the log ends") {
        const temporary_directory directory;
        slow_disk disk;
        const auto main = [](slow_disk& slow, const std::string& path) -> task<> {
            auto options = verbatim();
            options.batch_bytes = 8;
            auto log = co_await opened(path, options);
            const sapwood::record_view item{sapwood::wall_clock::now(), 1, level::info, "",
                                            "longer than a batch"};
            CHECK(log.append_now(item) == sapwood::lsn{1});
            auto not_full_later = sapwood::spawn(room_now(log));
            co_await settle(); // it is being written, and the other batch is empty
            CHECK(not_full_later.done());
            CHECK(log.append_now(item) == sapwood::lsn{2});
            auto waiting = sapwood::spawn(room_now(log));
            auto leaving = sapwood::spawn(room_now(log));
            co_await settle();
            CHECK(!waiting.done());
            leaving.cancel();
            co_await settle();
            CHECK(leaving.done());
            CHECK(!waiting.done());
            slow.go_on();
            co_await settle();
            CHECK(waiting.done());
            CHECK(log.append_now(item) == sapwood::lsn{3});
            auto in_vain = sapwood::spawn(room_now(log));
            co_await settle();
            CHECK(!in_vain.done());
            auto closing = sapwood::spawn(
                [](pipeline& to_close) -> task<> { co_await to_close.close(); }(log));
            co_await settle();
            CHECK(in_vain.done());
            CHECK(!closing.done());
            CHECK(log.append_now(item) == sapwood::lsn::none);
            slow.go_on();
            co_await settle();
            slow.go_on();
            co_await closing;
            CHECK(log.counts().lines_written == 3);
        };
        disk.run(main(disk, directory / "log"));
    }

    TEST_CASE("a record that is appended now is counted, and lost, as others are") {
        const temporary_directory directory;
        slow_disk disk;
        const auto main = [](slow_disk& slow, const std::string& path) -> task<> {
            auto log = co_await opened(path, verbatim());
            const sapwood::record_view item{sapwood::wall_clock::now(), 1, level::info, "", "x"};
            CHECK(log.append_now(item) == sapwood::lsn{1});
            co_await settle();
            CHECK(log.append_now(item) == sapwood::lsn{2});
            co_await append(log, "y");
            slow.fail(EIO);
            co_await settle();
            CHECK(log.append_now(item) == sapwood::lsn::none);
            CHECK(co_await failure_of(flush(log)) != "");
            CHECK(co_await failure_of(
                      [](pipeline& to_close) -> task<> { co_await to_close.close(); }(log)) != "");
            CHECK(log.counts().records == 3);
            CHECK(log.counts().lines_lost == 3);
        };
        disk.run(main(disk, directory / "log"));
    }

    CO_TEST_CASE("a record longer than a batch is written") {
        const temporary_directory directory;
        auto options = verbatim();
        options.batch_bytes = 16;
        auto log = co_await opened(directory / "log", std::move(options));
        const std::string message(1'000'000, 'x');
        co_await append(log, message);
        co_await append(log, "after");
        co_await log.close();
        CHECK(contents_of(log.path()) == message + "\nafter\n");
    }

    // --- flush and close ---

    TEST_CASE("flush returns when everything appended before is in the file") {
        const temporary_directory directory;
        slow_disk disk;
        const auto main = [](slow_disk& slow, const std::string& path) -> task<> {
            auto log = co_await opened(path, verbatim());
            co_await append(log, "in flight");
            co_await settle();
            co_await append(log, "in the batch");
            co_await settle();
            co_await append(log, "in the queue");
            auto flushing = sapwood::spawn(flush(log));
            co_await settle();
            CHECK(!flushing.done());

            slow.go_on();
            co_await settle();
            CHECK(!flushing.done());
            CHECK(contents_of(path) == "in flight\n");

            co_await append(log, "after it");
            slow.go_on();
            co_await flushing;
            CHECK(contents_of(path) == "in flight\nin the batch\nin the queue\n");
            co_await settle();
            slow.go_on();
            co_await log.close();
        };
        disk.run(main(disk, directory / "log"));
    }

    CO_TEST_CASE("flush of nothing returns at once, also after close") {
        const temporary_directory directory;
        auto log = co_await opened(directory / "log", verbatim());
        co_await log.flush();
        co_await log.close();
        co_await log.flush();
        CHECK(contents_of(log.path()).empty());
        CHECK(log.counts().batches_written == 0);
    }

    TEST_CASE("flush covers what other threads have sent") {
        const temporary_directory directory;
        const auto main = [](const std::string& path) -> task<> {
            for (int round = 0; round < 200; ++round) {
                auto options = verbatim();
                options.queue_records = 1;
                options.batch_bytes = 1; // each record is done by itself
                auto log = co_await opened(path, std::move(options));
                // Joined at once: what it has sent is behind the door, and the loop does not know.
                std::jthread([door = log.remote(8)]() mutable {
                    for (int i = 0; i < 8; ++i) {
                        door.send(text("remote"));
                    }
                }).join();
                // Others stand in the same queue.
                auto local = sapwood::spawn(append_numbers(log, "local", 1, 20));
                co_await log.flush();
                const auto lines = lines_of(path);
                REQUIRE(std::count(lines.begin(), lines.end(), "remote") == 8 * (round + 1));
                co_await local;
                co_await log.close();
            }
        };
        sapwood::run(main(directory / "log"));
    }

    CO_TEST_CASE("close writes everything, gives up the file, and refuses what comes later") {
        const temporary_directory directory;
        const auto path = directory / "log";
        auto log = co_await opened(path, verbatim());
        co_await append(log, "in time");
        co_await log.close();
        CHECK(contents_of(path) == "in time\n");

        CHECK(co_await failure_of(append(log, "late")) ==
              "append to a pipeline that was closed: the channel is closed");
        record late = text("late");
        CHECK_THROWS_AS((void)log.try_append(std::move(late)), std::system_error);
        CHECK(late.message() == "late"); // NOLINT(bugprone-use-after-move): the claim
        co_await log.close();

        auto next = co_await opened(path, verbatim()); // would throw if the lock were held
        co_await next.close();
    }

    CO_TEST_CASE("a pipeline may be destroyed while a task waits for its close or its flush") {
        const temporary_directory directory;
        const auto path = directory / "log";
        auto log = std::make_unique<pipeline>(co_await opened(path, verbatim()));
        co_await append(*log, "in time");
        auto flushing = sapwood::spawn(log->flush());
        auto closing = sapwood::spawn(log->close());
        auto late = log->close();
        co_await sapwood::yield();
        log.reset();
        co_await flushing;
        co_await closing;
        co_await std::move(late);
        CHECK(contents_of(path) == "in time\n");
    }

    CO_TEST_CASE("close refuses producers that wait, and their records stay theirs") {
        const temporary_directory directory;
        auto options = verbatim();
        options.queue_records = 1;
        auto log = co_await opened(directory / "log", std::move(options));
        std::vector<sapwood::join_handle<std::string>> producers;
        for (int id = 0; id < 10; ++id) {
            producers.push_back(sapwood::spawn(failure_of(append(log, std::to_string(id)))));
        }
        co_await sapwood::yield();
        co_await log.close();
        std::size_t accepted = 0;
        for (auto& producer : producers) {
            const auto failure = co_await producer;
            CHECK((failure.empty() || failure.find("closed") != std::string::npos));
            accepted += failure.empty() ? 1 : 0;
        }
        CHECK(accepted > 0);
        CHECK(accepted < 10);
        CHECK(lines_of(log.path()).size() == accepted);
    }

    TEST_CASE("a pipeline destroyed without close writes what was appended before run returns") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const auto main = [](const std::string& to) -> task<> {
            auto log = co_await opened(to, verbatim());
            co_await append_numbers(log, "x", 1, 300);
        };
        sapwood::run(main(path));
        CHECK(lines_of(path).size() == 300);
    }

    TEST_CASE("when the loop ends, what producers had handed over is written") {
        const temporary_directory directory;
        const auto path = directory / "log";
        int accepted = 0;
        const auto produce = [](pipeline& log, int& count) -> task<> {
            for (;;) {
                co_await append(log, "x");
                ++count;
            }
        };
        const auto main = [&](const std::string& to, std::optional<pipeline>& log) -> task<> {
            auto options = verbatim();
            options.queue_records = 4;
            options.batch_bytes = 64;
            log.emplace(co_await opened(to, std::move(options)));
            sapwood::spawn(produce(*log, accepted)).detach();
            sapwood::spawn(produce(*log, accepted)).detach();
            for (int turn = 0; turn < 300; ++turn) {
                co_await sapwood::yield();
            }
            throw std::runtime_error("the program fails");
        };
        std::optional<pipeline> log;
        CHECK_THROWS_AS(sapwood::run(main(path, log)), std::runtime_error);
        CHECK(accepted > 0);
        CHECK(lines_of(path).size() == static_cast<std::size_t>(accepted));
    }

    // --- a disk that fails ---

    TEST_CASE("a write error reaches producers, those that wait too, with path and reason") {
        const temporary_directory directory;
        slow_disk disk;
        const auto main = [](slow_disk& slow, const std::string& path) -> task<> {
            auto options = verbatim();
            options.queue_records = 1;
            options.batch_bytes = 1;
            auto log = co_await opened(path, std::move(options));
            co_await append(log, "in flight");
            co_await settle();
            std::vector<sapwood::join_handle<std::string>> waiting;
            for (int id = 0; id < 10; ++id) {
                waiting.push_back(sapwood::spawn(failure_of(append(log, "waits"))));
            }
            co_await settle();
            auto flushing = sapwood::spawn(failure_of(flush(log)));
            co_await settle();
            slow.fail(ENOSPC);

            const std::string expected =
                fmt::format("cannot write {}: No space left on device", path);
            std::size_t refused = 0;
            for (auto& producer : waiting) {
                const auto failure = co_await producer;
                CHECK((failure.empty() || failure == expected));
                refused += failure.empty() ? 0 : 1;
            }
            CHECK(refused > 0);
            CHECK(co_await flushing == expected);

            record later = text("later");
            CHECK_THROWS_WITH((void)log.try_append(std::move(later)), expected.c_str());
            CHECK(later.message() == "later"); // NOLINT(bugprone-use-after-move): the claim
            CHECK(co_await failure_of(append(log, "later")) == expected);
            CHECK(co_await failure_of(flush(log)) == expected);
            CHECK(co_await failure_of(log.close()) == expected);
            CHECK(log.counts().lines_lost == 11 - refused);
            CHECK(log.counts().lines_written == 0);
        };
        disk.run(main(disk, directory / "log"));
    }

    TEST_CASE("a lost line is counted once and told once, a kept one is not") {
        const temporary_directory directory;
        const auto path = directory / "log";
        std::vector<std::string> told;
        slow_disk disk;
        const auto main = [](slow_disk& slow, const std::string& to,
                             std::vector<std::string>& losses) -> task<> {
            auto log = co_await opened(to, verbatim());
            log.on_loss([&losses](const std::string& message) { losses.push_back(message); });
            co_await append(log, "kept");
            co_await settle();
            slow.go_on();
            co_await settle();
            co_await append(log, "lost\nlost\nlost"); // three lines in one record
            co_await settle();
            co_await append(log, "lost in the batch");
            co_await settle();
            CHECK(log.try_append(text("lost in the queue")));
            slow.fail(EIO);
            (void)co_await failure_of(log.close());
            CHECK(log.counts().lines_written == 1);
            CHECK(log.counts().lines_lost == 5);
            CHECK(log.counts().records == 4);
        };
        disk.run(main(disk, path, told));
        CHECK(told == std::vector<std::string>{fmt::format(
                          "cannot write {}: Input/output error; 5 lines were lost", path)});
        CHECK(contents_of(path) == "kept\n");
    }

    TEST_CASE("what other threads had sent when the disk failed is counted as lost") {
        const temporary_directory directory;
        slow_disk disk;
        const auto main = [](slow_disk& slow, const std::string& path) -> task<> {
            auto options = verbatim();
            options.queue_records = 1;
            options.batch_bytes = 1;
            auto log = co_await opened(path, std::move(options));
            co_await append(log, "in flight");
            co_await settle();
            auto door = log.remote(100);
            int sent = 0;
            while (door.try_send(text("remote"))) {
                ++sent;
            }
            co_await settle();
            while (door.try_send(text("remote"))) {
                ++sent;
            }
            slow.fail(EIO);
            (void)co_await failure_of(log.close());
            CHECK(log.counts().lines_lost == 1 + static_cast<std::size_t>(sent));
            CHECK_THROWS_AS((void)door.try_send(text("late")), std::system_error);
        };
        disk.run(main(disk, directory / "log"));
    }

    TEST_CASE("by default a loss is printed on standard error") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const auto printed = directory / "stderr";
        const auto main = [](const std::string& to) -> task<> {
            pipeline log(co_await sapwood::file_sink::open({.path = to}), {.queue_records = 8});
            co_await append(log, "lost");
            co_await append(log, "lost too");
        };
        CHECK(
            sapwood::test::in_child([&] {
                const int fd = ::open(printed.c_str(), O_WRONLY | O_CREAT, 0600);
                ::dup2(fd, STDERR_FILENO);
                loop_with_writes disk([](const io_uring_sqe&) { return std::optional(-EDQUOT); });
                disk.run(main(path));
                return contents_of(printed);
            }) ==
            fmt::format("sapwood: cannot write {}: Disk quota exceeded; 2 lines were lost\n", path)
                .c_str());
    }

    TEST_CASE("of its lines on standard error it waits for none that nobody takes") {
        const temporary_directory directory;
        const auto main = [](std::string path) -> task<> {
            const sapwood::file_sink_options file{.path = path};
            pipeline log = co_await pipeline::open(file, verbatim());
            co_await append(log, "lost");
        };
        const auto refuse = [](const io_uring_sqe&) { return std::optional(-EDQUOT); };
        const sapwood::test::unread_standard_error pipe;
        pipe.fill();
        loop_with_writes disk(refuse);
        disk.run(main(directory / "log"));
        (void)pipe.read();
        sapwood::detail::say("next");
        CHECK(pipe.read() ==
              "sapwood: 1 lines were left out here: nobody took them\nsapwood: next\n");
    }

    CO_TEST_CASE("a record for which there is no memory is lost, counted, and the only one") {
        const temporary_directory directory;
        std::vector<std::string> told;
        auto log = co_await opened(directory / "log", verbatim());
        log.on_loss([&told](const std::string& message) { told.push_back(message); });
        co_await append(log, "written");
        co_await log.flush();
        const std::string two_lines = std::string(400'000, 'x') + "\n" + std::string(400'000, 'y');
        record first = text(two_lines);
        record second = text(two_lines);
        bool was_taken = false;
        {
            // The consumer waits: a record is rendered as it is handed over.
            const sapwood::test::failing_allocations none(1);
            was_taken = log.try_append(std::move(first));
        }
        CHECK(was_taken);
        co_await settle();
        {
            const sapwood::test::failing_allocations none(1);
            was_taken = log.try_append(std::move(second));
        }
        CHECK(was_taken);
        co_await settle();
        co_await append(log, "written too");
        co_await log.close();
        CHECK(log.counts().lines_written == 2);
        CHECK(log.counts().lines_lost == 4);
        CHECK(log.counts().records == 4);
        CHECK((contents_of(log.path()) == "written\nwritten too\n"));
        REQUIRE(told.size() == 1);
        CHECK(told[0].find("out of memory") != std::string::npos);
        CHECK(told[0].find("4 lines were lost") != std::string::npos);
    }

    TEST_CASE("a record that is appended just before the loop ends is written") {
        const temporary_directory directory;
        const auto path = directory / "log";
        const auto main = [](const std::string& to) -> task<> {
            auto log = co_await opened(to, verbatim());
            CHECK(log.try_append(text("at the last moment"))); // the consumer has not run yet
        };
        sapwood::run(main(path));
        CHECK(contents_of(path) == "at the last moment\n");
    }

    // --- all of it at random ---

    TEST_CASE("whatever the disk does, lines are whole, in order, and add up") {
        const auto first_seed = std::random_device()();
        const temporary_directory directory;
        const auto path = directory / "log";

        struct producer_state {
            int accepted = 0;
            int written = 0;
        };

        const auto produce = [](pipeline& log, int id, std::uint32_t seed,
                                producer_state& state) -> task<> {
            std::mt19937 random(seed);
            const int count = static_cast<int>(random() % 60);
            try {
                for (int i = 1; i <= count; ++i) {
                    co_await append(
                        log, fmt::format("{} {} {}", id, i, std::string(random() % 300, 'x')));
                    ++state.accepted;
                    for (auto turns = random() % 4; turns > 0; --turns) {
                        co_await sapwood::yield();
                    }
                }
            } catch (const std::system_error&) {
            }
        };
        const auto main = [&produce](const std::string& to, std::uint32_t seed,
                                     std::span<producer_state> states,
                                     sapwood::pipeline_counts& counts) -> task<> {
            std::mt19937 random(seed);
            auto options = verbatim();
            options.queue_records = 1 + random() % 8;
            options.batch_bytes = 1 + random() % 2000;
            options.linger = std::chrono::microseconds(random() % 3);
            auto log = co_await opened(to, std::move(options));
            std::vector<sapwood::join_handle<>> producers;
            for (std::size_t id = 0; id < states.size(); ++id) {
                producers.push_back(sapwood::spawn(produce(
                    log, static_cast<int>(id), static_cast<std::uint32_t>(random()), states[id])));
            }
            for (auto& producer : producers) {
                co_await producer;
            }
            (void)co_await failure_of(log.close());
            counts = log.counts();
        };

        std::size_t failed_disks = 0;
        for (std::uint32_t seed = first_seed; seed != first_seed + 300; ++seed) {
            CAPTURE(seed);
            std::filesystem::remove(path);
            std::mt19937 random(seed);
            const bool may_fail = random() % 2 == 0;
            bool failed = false;
            loop_with_writes disk([&](const io_uring_sqe& sqe) -> std::optional<std::int32_t> {
                const auto fate = random() % 100;
                if (failed || (may_fail && fate < 5)) {
                    failed = true;
                    return -ENOSPC;
                }
                if (fate < 20) {
                    return -EINTR;
                }
                return fate < 60 ? perform_some(sqe, 1 + static_cast<unsigned>(random() % sqe.len))
                                 : perform(sqe);
            });
            std::vector<producer_state> states(3);
            sapwood::pipeline_counts counts;
            disk.run(main(path, seed, states, counts));
            failed_disks += failed ? 1 : 0;

            const auto contents = contents_of(path);
            const auto lines = lines_of(path);
            REQUIRE((contents.empty() || contents.back() == '\n'));
            for (const auto& line : lines) {
                std::istringstream fields(line);
                std::size_t id = 0;
                int number = 0;
                fields >> id >> number;
                REQUIRE(number == ++states.at(id).written);
            }
            std::uint64_t accepted = 0;
            for (const auto& state : states) {
                accepted += static_cast<std::uint64_t>(state.accepted);
                REQUIRE(state.written <= state.accepted);
            }
            REQUIRE(counts.records == accepted);
            REQUIRE(counts.lines_written == lines.size());
            REQUIRE(counts.bytes_written == contents.size());
            REQUIRE(counts.lines_written + counts.lines_lost == accepted);
            REQUIRE((failed || counts.lines_lost == 0));
        }
        CHECK(failed_disks > 30);
    }

    // --- a file that others rename ---

    CO_TEST_CASE(
        "a log that was renamed goes on under its name, and says so where lines are ours") {
        for (const auto form : {sapwood::layout::plain, sapwood::layout::verbatim}) {
            const temporary_directory directory;
            const auto path = directory / "log";
            pipeline_options options;
            options.form = form;
            pipeline log = co_await opened(path, options);
            co_await log.append(text("one"));
            co_await log.flush();
            REQUIRE(std::rename(path.c_str(), (path + ".1").c_str()) == 0);
            co_await sapwood::sleep_for(999ms);
            co_await log.append(text("two"));
            co_await log.close();
            CHECK(contents_of(path + ".1").ends_with("one\n"));
            const auto lines = contents_of(path);
            CAPTURE(lines);
            CHECK(lines.ends_with("two\n"));
            const bool says_so = lines.find(" 0 info " + path + " was renamed or removed; ") < 30;
            CHECK(says_so == (form == sapwood::layout::plain));
            CHECK(log.counts().lines_written == 2);
        }
    }

    // --- options ---

    CO_TEST_CASE("an option that makes no sense is refused by its name") {
        const temporary_directory directory;
        const auto path = directory / "log";
        pipeline_options no_queue;
        no_queue.queue_records = 0;
        CHECK((co_await failure_of([](const std::string& to, pipeline_options with) -> task<> {
                  (void)co_await opened(to, std::move(with));
              }(path, std::move(no_queue)))) ==
              "pipeline_options: queue_records must be 1 to 2^30");
        pipeline_options no_batch;
        no_batch.batch_bytes = 0;
        CHECK((co_await failure_of([](const std::string& to, pipeline_options with) -> task<> {
                  (void)co_await opened(to, std::move(with));
              }(path, std::move(no_batch)))) == "pipeline_options: batch_bytes must be at least 1");
        pipeline_options too_long;
        too_long.batch_bytes = (8u << 20) + 1; // more than an open would look at
        CHECK((co_await failure_of([](const std::string& to, pipeline_options with) -> task<> {
                  (void)co_await opened(to, std::move(with));
              }(path, std::move(too_long)))) ==
              "pipeline_options: batch_bytes must be at most 8 MiB");
        pipeline_options back_in_time;
        back_in_time.linger = -1ms;
        CHECK((co_await failure_of([](const std::string& to, pipeline_options with) -> task<> {
                  (void)co_await opened(to, std::move(with));
              }(path, std::move(back_in_time)))) ==
              "pipeline_options: linger must not be negative");
    }
}
