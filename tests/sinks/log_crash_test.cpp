// A process that dies with a log: what was logged before is in the file. Each way to die has its
// child process.
#include "support/child_process.hpp"
#include "support/co_test.hpp" // shows vectors
#include "support/log_lines.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file_log_sink.hpp>
#include <sapwood/json_layout.hpp>
#include <sapwood/log_foreign.hpp>
#include <sapwood/log_stats.hpp>
#include <sapwood/log_verifier.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/timeout.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csetjmp>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <exception>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <semaphore>
#include <span>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::contents_of;
using test::in_child;
using test::lines_of;
using test::temporary_directory;

constexpr int records = 1'000;

const char* const by_segv = "the child was killed by Segmentation fault";
const char* const by_abort = "the child was killed by Aborted";

void log_numbers(const logger& log) {
    for (int i = 0; i < records; ++i) {
        log.info("number {}", i);
    }
}

/// All numbers, each once and in order.
bool has_all_numbers(const std::vector<std::string>& lines) {
    int next = 0;
    for (const auto& line : lines) {
        if (const auto at = line.find("number "); at != std::string::npos) {
            if (line.substr(at) != "number " + std::to_string(next)) {
                return false;
            }
            ++next;
        }
    }
    return next == records;
}

// Each of them does what the compiler cannot see through.

[[gnu::noinline]] void die_of_segv() {
    static volatile int* volatile nowhere = nullptr;
    *nowhere = 1; // NOLINT: it is to crash
}

[[gnu::noinline]] void die_of_bus_error() {
    char path[] = "/tmp/sapwood-test-XXXXXX";
    const int fd = ::mkstemp(path);
    ::unlink(path);
    auto* const page = static_cast<volatile char*>(
        ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    *page = 1; // the file has no such page
}

[[gnu::noinline]] void die_of_illegal_instruction() {
#if defined(__x86_64__)
    asm volatile("ud2");
#else
    std::raise(SIGILL);
#endif
}

[[gnu::noinline]] void die_of_division() {
#if defined(__x86_64__)
    int quotient = 1;
    int rest = 0;
    asm volatile("idivl %2" : "+a"(quotient), "+d"(rest) : "r"(0));
#else
    std::raise(SIGFPE);
#endif
}

[[gnu::noinline]] int overflow_stack(int depth) {
    volatile char frame[4096];
    frame[static_cast<std::size_t>(depth) % sizeof(frame)] = static_cast<char>(depth);
    return depth < 0 ? 0 : overflow_stack(depth + 1) + frame[0];
}

struct ending {
    /// As in_child() describes it.
    doctest::String how;
    std::vector<std::string> lines;
};

/// Logs `records` numbers to a log with a thread of its own, and dies.
ending log_and(const std::function<void()>& die) {
    const temporary_directory directory;
    const std::string path = directory / "crash.log";
    auto how = in_child([&]() -> std::string {
        const logger log{{.path = path, .form = test::bare_form}};
        log_numbers(log);
        die();
        return "lived on";
    });
    return {how, lines_of(contents_of(path))};
}

void check_death(const std::function<void()>& die, const char* how, const std::string& signal) {
    const ending end = log_and(die);
    CHECK(end.how == how);
    REQUIRE(end.lines.size() == records + 1);
    CHECK(has_all_numbers(end.lines));
    CHECK(end.lines.back().find("critical " + signal) == 0);
    CHECK(end.lines.back().find(": what was logged before it is above") != std::string::npos);
}

/// A log whose loop crashes, so that nobody is there to write it but the signal's handler.
ending log_on_loop_and(const std::function<void()>& die, bool waits_for_write) {
    const temporary_directory directory;
    const std::string path = directory / "crash.log";
    auto how = in_child([&]() -> std::string {
        sapwood::run([&]() -> task<> {
            logger_options options{.path = path};
            const logger log = co_await logger::on_this_loop(options);
            log_numbers(log);
            if (waits_for_write) {
                co_await yield(); // the consumer has had its turn, and its write is under way
            }
            die();
        });
        return "lived on";
    });
    return {how, lines_of(contents_of(path))};
}

void check_death_of_loop(const ending& end) {
    CHECK(end.how == by_segv);
    REQUIRE(end.lines.size() == records + 1);
    CHECK(has_all_numbers(end.lines));
    const auto told = std::count_if(end.lines.begin(), end.lines.end(), [](const auto& line) {
        return line.find("critical sapwood SIGSEGV (bad address 0x0) in thread ") !=
                   std::string::npos &&
               line.find(": the signal's handler writes this and what follows") !=
                   std::string::npos;
    });
    CHECK(told == 1);
}

std::sig_atomic_t volatile handled = 0;

/// What a sink was given that only a signal handler writes to.
char given_in_crash[4096];
std::size_t given_bytes = 0;

/// Raises a signal in the middle of each write; the program survives it.
class raising_sink final : public log_sink {
  public:
    task<> open() override { co_return; }

    task<> write(std::span<const char>) override {
        std::raise(SIGABRT);
        co_return;
    }

    task<log_news> tend(log_sink_requests asked) override {
        co_return asked.reopen ? log_news(level::info, "news") : log_news();
    }

    task<> close() override { co_return; }

    std::string describe() const override { return "raising sink"; }

    bool write_in_crash(std::span<const char> lines) noexcept override {
        const std::size_t bytes = std::min(lines.size(), sizeof(given_in_crash) - given_bytes);
        std::copy_n(lines.data(), bytes, given_in_crash + given_bytes);
        given_bytes += bytes;
        return true;
    }
};

/// Holds its first write until it is told to go on. A signal that is survived comes in the middle
/// of the second one, its handler can write only three lines of it, and it fails, as the third
/// does.
class half_saving_sink final : public log_sink {
  public:
    half_saving_sink(std::binary_semaphore& is_writing, std::binary_semaphore& goes_on,
                     std::string& written)
        : is_writing_(is_writing),
          goes_on_(goes_on),
          written_(written) {}

    task<> open() override { co_return; }

    task<> write(std::span<const char> lines) override {
        switch (++writes_) {
        case 1:
            is_writing_.release();
            goes_on_.acquire();
            break;
        case 2:
            std::raise(SIGABRT);
            [[fallthrough]];
        case 3:
            throw std::system_error(EIO, std::generic_category());
        default:
            break;
        }
        written_.append(lines.begin(), lines.end());
        co_return;
    }

    task<log_news> tend(log_sink_requests) override { co_return log_news(); }

    task<> close() override { co_return; }

    std::string describe() const override { return "half-saving sink"; }

    bool write_in_crash(std::span<const char> lines) noexcept override {
        if (kept_ != 0) {
            return true; // the signal's own line
        }
        for (int i = 0; i < 3; ++i) {
            kept_ = std::string_view(lines.data(), lines.size()).find('\n', kept_) + 1;
        }
        return false;
    }

    std::size_t kept_in_crash() const noexcept override { return kept_; }

  private:
    std::binary_semaphore& is_writing_;
    std::binary_semaphore& goes_on_;
    std::string& written_;
    int writes_ = 0;
    std::size_t kept_ = 0;
};

/// Of a log that has been flushed.
bool adds_up(const log_stats& all) {
    bool holds = all.accepted == all.dropped() + all.taken && all.in_rings == 0;
    for (const auto& each : all.outputs) {
        holds = holds && each.in_flight == 0 &&
                all.taken + all.notes + each.notes ==
                    each.written + each.unwanted + each.held_back + each.lost;
    }
    return holds;
}

std::jmp_buf way_out;

std::vector<std::string> without_repetitions(std::vector<std::string> lines) {
    std::vector<std::string> seen;
    std::erase_if(lines, [&](const auto& line) {
        const bool is_known = std::ranges::find(seen, line) != seen.end();
        seen.push_back(line);
        return is_known;
    });
    return lines;
}

} // namespace

TEST_SUITE("log_crash") {

    TEST_CASE("what was logged before a bad address is used is written") {
        check_death(die_of_segv, by_segv, "SIGSEGV (bad address 0x0) in thread ");
    }

    TEST_CASE("what was logged before a bus error is written") {
        check_death(die_of_bus_error, "the child was killed by Bus error",
                    "SIGBUS (bus error at 0x");
    }

    TEST_CASE("what was logged before an illegal instruction is written") {
        check_death(die_of_illegal_instruction, "the child was killed by Illegal instruction",
                    "SIGILL (illegal instruction at ");
    }

    TEST_CASE("what was logged before a division by zero is written") {
        check_death(die_of_division, "the child was killed by Floating point exception",
                    "SIGFPE (arithmetic error at ");
    }

    TEST_CASE("what was logged before abort is written") {
        check_death([] { std::abort(); }, by_abort, "SIGABRT (abort) in thread ");
    }

    TEST_CASE("what was logged before std::terminate is written") {
        check_death([] { std::terminate(); }, by_abort, "SIGABRT (abort) in thread ");
    }

    TEST_CASE("what was logged before an exception that nobody catches is written") {
        check_death([] { std::thread([] { throw std::runtime_error("of a test"); }).join(); },
                    by_abort, "SIGABRT (abort) in thread ");
    }

    TEST_CASE("what was logged before a signal that somebody sends is written") {
        check_death([] { ::kill(::getpid(), SIGSEGV); }, by_segv,
                    "SIGSEGV (bad address none: it was sent) in thread ");
    }

    TEST_CASE("what was logged before a stack overflows is written") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  const logger log{{.path = path, .form = test::bare_form}};
                  std::thread([&] {
                      log_numbers(log); // gives the thread a stack for handlers
                      overflow_stack(0);
                  }).join();
                  return "lived on";
              }) == by_segv);
        const auto lines = lines_of(contents_of(path));
        CHECK(lines.size() == records + 1);
        CHECK(has_all_numbers(lines));
    }

    TEST_CASE("a crash of the loop that writes the log loses nothing") {
        check_death_of_loop(log_on_loop_and(die_of_segv, false));
    }

    TEST_CASE("a crash while a write of the same loop is under way loses nothing") {
        check_death_of_loop(log_on_loop_and(die_of_segv, true));
    }

    TEST_CASE("a crash of the log's own thread loses nothing") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  logger_options options{.path = path};
                  std::binary_semaphore all_logged{0};
                  options.outputs.push_back(
                      {.sink = std::make_unique<callback_log_sink>([&](std::string_view) {
                           all_logged.acquire();
                           die_of_segv();
                       })});
                  const logger log(std::move(options));
                  log_numbers(log);
                  all_logged.release();
                  log.flush_blocking();
                  return "lived on";
              }) == by_segv);
        CHECK(has_all_numbers(lines_of(contents_of(path))));
    }

    TEST_CASE("a crash in a filter, with a record half written, tears no line") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  logger_options options;
                  std::binary_semaphore all_logged{0};
                  options.outputs.push_back({.sink = std::make_unique<file_log_sink>(path),
                                             .filter = [&](const log_record& record) {
                                                 if (record.message == "number 500") {
                                                     all_logged.acquire();
                                                     die_of_segv();
                                                 }
                                                 return true;
                                             }});
                  const logger log(std::move(options));
                  log_numbers(log);
                  all_logged.release();
                  log.flush_blocking();
                  return "lived on";
              }) == by_segv);
        CHECK(has_all_numbers(lines_of(contents_of(path))));
    }

    TEST_CASE("a crash in a filter loses no record of another library, nor its time") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  logger_options options;
                  std::binary_semaphore all_logged{0};
                  options.outputs.push_back({.sink = std::make_unique<file_log_sink>(path),
                                             .filter = [&](const log_record& record) {
                                                 if (record.message == "number 500") {
                                                     all_logged.acquire();
                                                     die_of_segv();
                                                 }
                                                 return true;
                                             }});
                  const logger log(std::move(options));
                  for (int i = 0; i < records; ++i) {
                      detail::put_foreign(detail::logger_access::core(log),
                                          {.message = "number " + std::to_string(i),
                                           .when = wall_clock::time_point(1'000'000'000s)});
                  }
                  all_logged.release();
                  log.flush_blocking();
                  return "lived on";
              }) == by_segv);
        const auto lines = lines_of(contents_of(path));
        CHECK(has_all_numbers(lines));
        CHECK(std::ranges::count_if(lines, [](const std::string& line) {
                  return line.starts_with("2001-");
              }) == records);
    }

    TEST_CASE("what is kept for an error is written at a crash of the loop that writes the log") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  sapwood::run([&]() -> task<> {
                      logger_options options{.path = path, .recent = {.records_max = 2}};
                      const logger log = co_await logger::on_this_loop(options);
                      for (int i = 0; i < 3; ++i) {
                          log.debug("kept {}", i);
                      }
                      log.info("before");
                      co_await log.flush();
                      die_of_segv();
                  });
                  return "lived on";
              }) == by_segv);
        const auto lines = lines_of(contents_of(path));
        REQUIRE(lines.size() == 5);
        CHECK(lines[0].ends_with(" before"));
        CHECK(lines[1].find("kept until now, too low to be written: 2 records, and 1 before") !=
              std::string::npos);
        CHECK(lines[1].find(log_record::cut_mark) == std::string::npos);
        CHECK(lines[2].ends_with(" kept 1"));
        CHECK(lines[3].ends_with(" kept 2"));
        CHECK(lines[4].find("SIGSEGV") != std::string::npos);
    }

    TEST_CASE("a crash while another sink is stuck loses nothing of the file, and is soon over") {
        const auto begin = std::chrono::steady_clock::now();
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  logger_options options{.path = path};
                  std::binary_semaphore entered{0};
                  options.outputs.push_back(
                      {.sink = std::make_unique<callback_log_sink>([&](std::string_view) {
                           entered.release();
                           std::binary_semaphore never{0};
                           never.acquire(); // and with it the thread that writes the log
                       })});
                  const logger log(std::move(options));
                  log.info("first");
                  entered.acquire();
                  log_numbers(log);
                  die_of_segv();
                  return "lived on";
              }) == by_segv);
        const auto lines = lines_of(contents_of(path));
        CHECK(lines.size() == records + 2);
        CHECK(has_all_numbers(lines));
        // The handler sees after two seconds that nothing moves; 10 are for what does.
        CHECK(std::chrono::steady_clock::now() - begin < 9500ms);
    }

    TEST_CASE(
        "lines that the handler writes are escaped, have their fields, and say what is missing") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  sapwood::run([&]() -> task<> {
                      logger_options options{.path = path,
                                             .ring_bytes = 4096,
                                             .full = {.policy = log_full_policy::drop_newest}};
                      const logger log = co_await logger::on_this_loop(options);
                      log.child("db").warn("a\nb \x1b[31m \xc3\xa4 \xff\\", kv("k e", "v\" w"),
                                           kv("n", 12), kv("t", "plain"));
                      for (int i = 0; i < records; ++i) {
                          log.info("number {}", i);
                      }
                      std::abort();
                  });
                  return "lived on";
              }) == by_abort);
        const auto lines = lines_of(contents_of(path));
        REQUIRE(lines.size() > 3);
        CHECK(lines[1].substr(lines[1].find(" warning ")) ==
              " warning db a\\nb \\x1b[31m \xc3\xa4 \\xff\\\\ k\\x20e=\"v\\\" w\" n=12 t=plain");
        CHECK(test::records_in(lines) > 0);
        CHECK(lines.back().find(" are missing here, numbers ") != std::string::npos);
        std::uint64_t missing = 0;
        std::istringstream(lines.back().substr(lines.back().find("sapwood ") + 8)) >> missing;
        CHECK(test::records_in(lines) + missing == records);
    }

    TEST_CASE("what is missing between two records the handler says between their lines") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  sapwood::run([&]() -> task<> {
                      logger_options options{.path = path,
                                             .form = test::bare_form,
                                             .ring_bytes = 4096,
                                             .full = {.policy = log_full_policy::drop_newest}};
                      const logger log = co_await logger::on_this_loop(options);
                      const std::string text(800, 'x');
                      while (log.stats().dropped() < 2) {
                          log.info("{}", text);
                      }
                      log.info("behind");
                      std::abort();
                  });
                  return "lived on";
              }) == by_abort);
        const auto lines = lines_of(contents_of(path));
        REQUIRE(lines.size() > 4); // the signal's is the first
        const std::size_t kept = lines.size() - 3;
        CHECK(lines[kept].ends_with(std::string(800, 'x')));
        CHECK(lines[kept + 1].find(" sapwood 2 records of thread ") != std::string::npos);
        CHECK(lines[kept + 1].find(fmt::format(" are missing here, numbers {} to {}: ", kept,
                                               kept + 1)) != std::string::npos);
        CHECK(lines[kept + 1].find(log_record::cut_mark) == std::string::npos);
        CHECK(lines.back().ends_with(" behind"));
    }

    TEST_CASE("JSON stays JSON in the hands of the handler") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  sapwood::run([&]() -> task<> {
                      logger_options options;
                      options.outputs.push_back({.sink = std::make_unique<file_log_sink>(path),
                                                 .form = std::make_unique<json_layout>()});
                      const logger log = co_await logger::on_this_loop(options);
                      log.child("db").warn("a\n\"b\" \xff", kv("k", "v\""), kv("n", 12));
                      std::abort();
                  });
                  return "lived on";
              }) == by_abort);
        const auto lines = lines_of(contents_of(path));
        REQUIRE(lines.size() == 2);
        CHECK(lines[1].find("{\"time\":\"") == 0);
        CHECK(lines[1].substr(lines[1].find(",\"logger\"")) ==
              ",\"logger\":\"db\",\"message\":\"a\\u000a\\\"b\\\" \xef\xbf\xbd\","
              "\"fields\":{\"k\":\"v\\\"\",\"n\":12}}");
    }

    TEST_CASE("threads that crash at the same time hang nobody, and nothing is lost") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        constexpr int threads = 8;
        const auto how = in_child([&]() -> std::string {
            const logger log{{.path = path, .form = test::bare_form}};
            std::atomic<int> ready{0};
            std::vector<std::jthread> all;
            for (int t = 0; t < threads; ++t) {
                all.emplace_back([&] {
                    log.info("number {}", 0);
                    ready.fetch_add(1);
                    while (ready.load() < threads) {
                        std::this_thread::yield();
                    }
                    die_of_segv();
                });
            }
            return "lived on";
        });
        CHECK(how == by_segv);
        CHECK(test::records_in(lines_of(contents_of(path))) == threads);
    }

    TEST_CASE("several logs are written, each with the signal's line") {
        const temporary_directory directory;
        (void)in_child([&]() -> std::string {
            const logger one{{.path = directory / "one.log", .form = test::bare_form}};
            const logger other{{.path = directory / "other.log", .form = test::bare_form}};
            one.info("one");
            other.info("other");
            std::abort();
        });
        const auto one = lines_of(contents_of(directory / "one.log"));
        const auto other = lines_of(contents_of(directory / "other.log"));
        REQUIRE(one.size() == 2);
        REQUIRE(other.size() == 2);
        CHECK(one[0] == "info one");
        CHECK(other[0] == "info other");
        CHECK(one[1] == other[1]);
    }

    TEST_CASE("the handler that was there before gets the signal, and what it does counts") {
        const ending end = [&] {
            const temporary_directory directory;
            const std::string path = directory / "crash.log";
            auto how = in_child([&]() -> std::string {
                std::signal(SIGSEGV, [](int) { ::_exit(42); });
                const logger log{{.path = path, .form = test::bare_form}};
                log_numbers(log);
                die_of_segv();
                return "lived on";
            });
            return ending{how, lines_of(contents_of(path))};
        }();
        CHECK(end.how == "the child ended with exit code 42");
        CHECK(has_all_numbers(end.lines));
    }

    TEST_CASE("a program that survives its signals goes on logging") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  std::signal(SIGABRT, [](int) {
                      handled = 1;
                      std::longjmp(way_out, 1); // NOLINT: as some programs do
                  });
                  const logger log{{.path = path, .form = test::bare_form}};
                  log.info("before");
                  if (setjmp(way_out) == 0) { // NOLINT
                      ::raise(SIGABRT);
                  }
                  log.info("after");
                  log.flush_blocking();
                  return handled == 1 ? "lived on" : "not handled";
              }) == "lived on");
        const auto lines = lines_of(contents_of(path));
        REQUIRE(lines.size() == 3);
        CHECK(lines[0] == "info before");
        CHECK(lines[2] == "info after");
    }

    TEST_CASE("a crash of the log's own thread that is survived leaves counts that add up") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  std::signal(SIGABRT, [](int) { handled = 1; });
                  logger_options options{.path = path, .form = test::bare_form};
                  std::binary_semaphore all_logged{0};
                  std::string text;
                  options.outputs.push_back(
                      {.sink = std::make_unique<callback_log_sink>([&](std::string_view lines) {
                           if (handled == 0) {
                               all_logged.acquire();
                               std::raise(SIGABRT); // while rings are full of records
                           }
                           text += lines;
                       }),
                       .form = std::make_unique<text_layout>(test::bare_form)});
                  const logger log(std::move(options));
                  log_numbers(log);
                  all_logged.release();
                  log.flush_blocking();
                  log.info("after");
                  log.flush_blocking();
                  const log_stats stats = log.stats();
                  const auto lost = test::missing_in(lines_of(text));
                  return handled == 0                      ? "not handled"
                         : !adds_up(stats)                 ? "the counts do not add up"
                         : stats.outputs[1].lost != lost   ? "what is lost is not told"
                         : !text.ends_with("info after\n") ? "it did not go on"
                                                           : "lived on";
              }) == "lived on");
        // What the kernel had not been given yet when the handler wrote it, it gets once more.
        CHECK(has_all_numbers(without_repetitions(lines_of(contents_of(path)))));
    }

    TEST_CASE("a task that waits for room goes on when a handler has emptied its ring") {
        CHECK(in_child([]() -> std::string {
                  std::signal(SIGABRT, [](int) { handled = 1; });
                  logger_options options{.form = test::bare_form, .ring_bytes = 4096};
                  options.path.clear();
                  std::binary_semaphore waits{0};
                  options.outputs.push_back(
                      {.sink = std::make_unique<callback_log_sink>([&](std::string_view) {
                           if (handled == 0) {
                               waits.acquire();
                               std::raise(SIGABRT);
                           }
                       }),
                       .batch_bytes = 1000});
                  const logger log(std::move(options));
                  bool went_on = false;
                  sapwood::run([&]() -> task<> {
                      while (log.stats().dropped() == 0) {
                          log_numbers(log);
                      }
                      const auto letting_go = spawn([](std::binary_semaphore& all) -> task<> {
                          all.release();
                          co_return;
                      }(waits));
                      const auto room = co_await as_result(timeout(20s, log.room()));
                      went_on = room.has_value();
                      co_await letting_go;
                  });
                  return handled == 0 ? "not handled" : !went_on ? "it waits" : "lived on";
              }) == "lived on");
    }

    TEST_CASE("a crash in a filter that is survived writes each record, and counts it once") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        for (const bool has_two : {false, true}) {
            CAPTURE(has_two);
            CHECK(in_child([&]() -> std::string {
                      std::signal(SIGABRT, [](int) { handled = 1; });
                      logger_options options;
                      std::binary_semaphore all_logged{0};
                      options.outputs.push_back({.sink = std::make_unique<file_log_sink>(path),
                                                 .filter = [&](const log_record& record) {
                                                     if (record.message == "number 500") {
                                                         all_logged.acquire();
                                                         std::raise(SIGABRT);
                                                     }
                                                     return true;
                                                 }});
                      if (has_two) {
                          options.outputs.push_back(
                              {.sink = std::make_unique<file_log_sink>(path + ".2")});
                      }
                      const logger log(std::move(options));
                      log_numbers(log);
                      all_logged.release();
                      log.flush_blocking();
                      const log_stats before = log.stats();
                      log.info("after");
                      log.flush_blocking();
                      return handled == 0            ? "not handled"
                             : !adds_up(before)      ? "the counts do not add up"
                             : !adds_up(log.stats()) ? "later counts do not add up"
                                                     : "lived on";
                  }) == "lived on");
            // What the kernel had not been given yet when the handler wrote it, it gets once more.
            const auto lines = without_repetitions(lines_of(contents_of(path)));
            CHECK(has_all_numbers(lines));
            CHECK(lines.back().ends_with(" after"));
            if (has_two) {
                const auto second = lines_of(contents_of(path + ".2"));
                CHECK(has_all_numbers(without_repetitions(second)));
            }
            std::filesystem::remove(path);
        }
    }

    TEST_CASE("a durable log that survives a crash is whole, and goes on acknowledging") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        for (const bool waits_for_write : {false, true}) {
            CAPTURE(waits_for_write);
            CHECK(in_child([&]() -> std::string {
                      std::signal(SIGABRT, [](int) { handled = 1; });
                      bool are_counted = false;
                      sapwood::run([&]() -> task<> {
                          logger_options options{.path = path};
                          options.durable = durability::batch();
                          const logger log = co_await logger::on_this_loop(options);
                          log_numbers(log);
                          if (waits_for_write) {
                              co_await yield();
                          }
                          std::raise(SIGABRT);
                          log.info("after");
                          for (bool is_durable = false; !is_durable;) {
                              try {
                                  co_await log.durable();
                                  is_durable = true;
                              } catch (const std::system_error&) { // of what the handler was at
                              }
                          }
                          are_counted = adds_up(log.stats());
                          co_await log.close();
                      });
                      return handled == 0   ? "not handled"
                             : !are_counted ? "the counts do not add up"
                                            : "lived on";
                  }) == "lived on");
            log_verifier verifier;
            CHECK(verifier.verify(log_verifier::segments_of(path)).is_whole());
            std::vector<std::string> found;
            for (const auto& line : lines_of(contents_of(path))) {
                if (const auto at = line.find("number "); at != line.npos) {
                    found.push_back(line.substr(at));
                }
            }
            CHECK(has_all_numbers(without_repetitions(found)));
            std::filesystem::remove(path);
        }
    }

    TEST_CASE("where a handler could write a part only, that is counted, and the rest is lost") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  std::signal(SIGABRT, [](int) { handled = 1; });
                  std::signal(SIGXFSZ, SIG_IGN);
                  std::string how = "lived on";
                  sapwood::run([&]() -> task<> {
                      logger_options options{.path = path, .form = test::bare_form};
                      const logger log = co_await logger::on_this_loop(options);
                      log_numbers(log);
                      rlimit limit{};
                      ::getrlimit(RLIMIT_FSIZE, &limit);
                      rlimit small = limit;
                      small.rlim_cur = 10'000;
                      ::setrlimit(RLIMIT_FSIZE, &small);
                      std::raise(SIGABRT);
                      ::setrlimit(RLIMIT_FSIZE, &limit);
                      log.info("after");
                      co_await log.flush();
                      const log_stats stats = log.stats();
                      const auto lines = lines_of(contents_of(path));
                      how = !adds_up(stats)              ? "the counts do not add up"
                            : stats.outputs[0].lost == 0 ? "nothing is lost"
                            : stats.outputs[0].written != lines.size()
                                ? "what is written is not what is there"
                            : stats.outputs[0].lost != test::missing_in(lines)
                                ? "what is lost is not told"
                                : how;
                      co_await log.close();
                  });
                  return how;
              }) == "lived on");
    }

    TEST_CASE(
        "what a handler has written of a write that fails is left out of the next one, once") {
        CHECK(in_child([]() -> std::string {
                  std::signal(SIGABRT, [](int) { handled = 1; });
                  std::binary_semaphore is_writing{0};
                  std::binary_semaphore goes_on{0};
                  std::string written;
                  logger_options options{.form = test::bare_form};
                  options.path.clear();
                  options.outputs.push_back(
                      {.sink = std::make_unique<half_saving_sink>(is_writing, goes_on, written)});
                  const logger log(std::move(options));
                  log.info("first");
                  is_writing.acquire();
                  for (int i = 0; i < 10; ++i) {
                      log.info("number {}", i);
                  }
                  goes_on.release();
                  for (bool is_well = false; !is_well;) {
                      try {
                          log.flush_blocking();
                          is_well = true;
                      } catch (const std::system_error&) { // of the two writes that fail
                      }
                  }
                  std::string found;
                  for (const auto& line : lines_of(written)) {
                      found += line.substr(line.rfind(' ') + 1) + ' ';
                  }
                  return handled == 0 ? "not handled" : found;
              }) == "first 3 4 5 6 7 8 9 ");
    }

    TEST_CASE("a second crash writes what a sink told after the first one") {
        CHECK(in_child([&]() -> std::string {
                  std::signal(SIGABRT, [](int) { handled = 1; });
                  logger_options options;
                  options.outputs.push_back({.sink = std::make_unique<raising_sink>()});
                  const logger log(std::move(options));
                  log.info("first");
                  log.flush_blocking();
                  given_bytes = 0;
                  log.reopen(); // what comes of it begins a batch
                  log.flush_blocking();
                  const std::string_view given(given_in_crash, given_bytes);
                  return given.find(" news ") != given.npos ? "told" : std::string(given);
              }) == "told");
    }

    TEST_CASE("with the last log the signals are as they were, and the next one takes them again") {
        CHECK(in_child([&]() -> std::string {
                  const auto handler = [] {
                      struct sigaction now {};

                      ::sigaction(SIGABRT, nullptr, &now);
                      return now.sa_handler;
                  };
                  const auto own = [](int) { handled = 1; };
                  std::string text;
                  logger_options options;
                  options.outputs.push_back({.sink = std::make_unique<null_log_sink>()});
                  {
                      const logger log(std::move(options));
                      text += handler() == SIG_DFL ? "not taken" : "taken";
                  }
                  text += handler() == SIG_DFL ? ", given back" : ", kept";
                  std::signal(SIGABRT, own);
                  logger_options others;
                  others.outputs.push_back({.sink = std::make_unique<null_log_sink>()});
                  const logger other(std::move(others));
                  text += handler() == +own ? ", not taken again" : ", taken again";
                  return text;
              }) == "taken, given back, taken again");
    }

    TEST_CASE("a child made past fork() that crashes writes nothing of its parent's") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  sapwood::run([&]() -> task<> {
                      logger_options options{.path = path, .form = test::bare_form};
                      const logger log = co_await logger::on_this_loop(options);
                      log.info("once");
                      const auto child = static_cast<pid_t>(
                          ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
                      if (child == 0) {
                          die_of_segv();
                      }
                      ::waitpid(child, nullptr, 0);
                      co_await log.flush();
                  });
                  return "lived on";
              }) == "lived on");
        CHECK(contents_of(path) == "info once\n");
    }

    TEST_CASE("without the handler the log is as it was at the crash") {
        const temporary_directory directory;
        const std::string path = directory / "crash.log";
        CHECK(in_child([&]() -> std::string {
                  sapwood::run([&]() -> task<> {
                      logger_options options{.path = path, .crash_handler = false};
                      const logger log = co_await logger::on_this_loop(options);
                      log_numbers(log);
                      die_of_segv();
                  });
                  return "lived on";
              }) == by_segv);
        CHECK(contents_of(path).empty());
    }

    TEST_CASE("after _exit and kill -9 there is what the kernel had, in whole lines") {
        for (const bool is_killed : {false, true}) {
            const temporary_directory directory;
            const std::string path = directory / "crash.log";
            (void)in_child([&]() -> std::string {
                const logger log{{.path = path, .form = test::bare_form}};
                log.info("flushed");
                log.flush_blocking();
                log.info("not flushed");
                if (is_killed) {
                    ::kill(::getpid(), SIGKILL);
                }
                ::_exit(0);
            });
            CHECK(contents_of(path).find("info flushed\n") == 0);
            CHECK(contents_of(path).ends_with('\n'));
        }
    }
}
