// spdlog_compat: a program as people write them for spdlog, with only its include changed.
#include "support/child_process.hpp"
#include "support/co_test.hpp" // shows vectors
#include "support/log_lines.hpp"
#include "support/temporary_directory.hpp"

// The one line that is changed: it stands for all of <spdlog/...>.
#define SPDLOG_ACTIVE_LEVEL SPDLOG_LEVEL_DEBUG
#include <sapwood/spdlog_compat.hpp>

#include <sapwood/run.hpp>

#include <chrono>
#include <cstdlib>
#include <doctest/doctest.h>
#include <filesystem>
#include <fmt/chrono.h>
#include <fmt/ranges.h>
#include <memory>
#include <mutex>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

namespace test = sapwood::test;
using test::temporary_directory;

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) {
        lines.push_back(line);
    }
    return lines;
}

bool matches(const std::string& text, const char* pattern) {
    return std::regex_match(text, std::regex(pattern));
}

/// Registered loggers are the process's: each case leaves none.
struct fresh {
    fresh() = default;
    fresh(const fresh&) = delete;
    fresh& operator=(const fresh&) = delete;

    ~fresh() {
        spdlog::shutdown();
        spdlog::set_formatter(std::make_unique<spdlog::pattern_formatter>());
        spdlog::set_level(spdlog::level::info);
        spdlog::flush_on(spdlog::level::off);
        spdlog::disable_backtrace();
        spdlog::set_error_handler(nullptr);
    }
};

// --- what stands in a program's own files ---

struct account {
    int number;
    double balance;
};

/// A sink that somebody has written against spdlog.
class counting_sink final : public spdlog::sinks::base_sink<std::mutex> {
  public:
    std::vector<std::string> lines;
    int flushes = 0;

  protected:
    void sink_it_(const spdlog::details::log_msg& msg) override {
        spdlog::memory_buf_t formatted;
        formatter_->format(msg, formatted);
        lines.push_back(fmt::to_string(formatted));
    }

    void flush_() override { ++flushes; }
};

struct faulty {
    bool throws = true;
};

} // namespace

template <>
struct fmt::formatter<account> : fmt::formatter<int> {
    template <class Context>
    auto format(const account& a, Context& context) const {
        return fmt::format_to(context.out(), "#{} ({:.2f})", a.number, a.balance);
    }
};

template <>
struct fmt::formatter<faulty> : fmt::formatter<int> {
    template <class Context>
    auto format(const faulty& one, Context& context) const {
        if (one.throws) {
            throw std::runtime_error("cannot be formatted");
        }
        return context.out();
    }
};

TEST_SUITE("spdlog_compat") {

    TEST_CASE("a program for spdlog writes what it wrote with spdlog") {
        const fresh at_end;
        const temporary_directory directory;
        const std::string path = directory / "logs/basic.txt"; // its folder is made
        try {
            auto network = spdlog::basic_logger_mt("network", path);
            spdlog::set_default_logger(network);
            spdlog::set_level(spdlog::level::debug);
            spdlog::set_pattern("[%n] [%^%l%$] %v");

            spdlog::info("Welcome to {} version {}.{}", "the service", 1, 10);
            spdlog::error("Some error message with arg: {}", 1);
            spdlog::warn("Easy padding in numbers like {:08d}", 12);
            spdlog::critical("int: {0:d};  hex: {0:x};  oct: {0:o}; bin: {0:b}", 42);
            spdlog::info("Floats {:03.2f}", 1.23456);
            spdlog::info("Positional args are {1} {0}..", "too", "supported");
            spdlog::info("{:<30}", "left aligned");
            spdlog::debug("account {} of {}", account{17, 3.5}, std::string("ann"));
            spdlog::trace("not this");
            spdlog::info("100 % {} as it is");
            spdlog::info(std::string("a string"));
            spdlog::info(42);
            spdlog::log(spdlog::level::warn, "level at run time");
            network->log(spdlog::level::info, fmt::runtime("run-time format {}"), 7);
            spdlog::get("network")->info("found: {}", std::vector<int>{1, 2, 3});
            SPDLOG_TRACE("compiled out {}", faulty{});
            SPDLOG_DEBUG("macro {}", 1);
            SPDLOG_LOGGER_INFO(network, "macro of a logger's");
            network->flush();
        } catch (const spdlog::spdlog_ex& ex) {
            FAIL("Log init failed: ", ex.what());
        }
        CHECK(lines_of(test::contents_of(path)) ==
              std::vector<std::string>{
                  "[network] [info] Welcome to the service version 1.10",
                  "[network] [error] Some error message with arg: 1",
                  "[network] [warning] Easy padding in numbers like 00000012",
                  "[network] [critical] int: 42;  hex: 2a;  oct: 52; bin: 101010",
                  "[network] [info] Floats 1.23",
                  "[network] [info] Positional args are supported too..",
                  "[network] [info] left aligned                  ",
                  "[network] [debug] account #17 (3.50) of ann",
                  "[network] [info] 100 % {} as it is",
                  "[network] [info] a string",
                  "[network] [info] 42",
                  "[network] [warning] level at run time",
                  "[network] [info] run-time format 7",
                  "[network] [info] found: [1, 2, 3]",
                  "[network] [debug] macro 1",
                  "[network] [info] macro of a logger's",
              });
    }

    TEST_CASE("spdlog's own pattern shows logger and place where there are such") {
        const fresh at_end;
        const temporary_directory directory;
        const std::string path = directory / "app.log";
        auto named = spdlog::basic_logger_mt("app", path);
        spdlog::logger unnamed("", named->sinks().front());
        named->info("one");
        unnamed.info("two");
        SPDLOG_LOGGER_INFO(named, "three");
        named->flush();
        const auto lines = lines_of(test::contents_of(path));
        REQUIRE(lines.size() == 3);
        const std::string time = R"(\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\] )";
        CHECK(matches(lines[0], (time + R"(\[app\] \[info\] one)").c_str()));
        CHECK(matches(lines[1], (time + R"(\[info\] two)").c_str()));
        CHECK(
            matches(lines[2],
                    (time + R"(\[app\] \[info\] \[spdlog_compat_test\.cpp:\d+\] three)").c_str()));
    }

    TEST_CASE("patterns and levels change at run time, for what comes after") {
        const fresh at_end;
        const temporary_directory directory;
        const std::string path = directory / "app.log";
        auto log = spdlog::basic_logger_mt("app", path);
        log->set_pattern("1 %v");
        log->info("a");
        log->set_pattern("2 %L %v");
        log->set_level(spdlog::level::err);
        log->info("not this");
        log->error("b");
        CHECK_FALSE(log->should_log(spdlog::level::warn));
        log->set_pattern("%~ %v"); // no flag, as spdlog has it
        log->error("c");
        log->flush();
        CHECK(test::contents_of(path) == "1 a\n2 E b\n%~ c\n");
    }

    TEST_CASE("several sinks have levels and patterns of their own, and one may be the program's") {
        const fresh at_end;
        const temporary_directory directory;
        const std::string path = directory / "all.log";
        auto file = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, true);
        auto own = std::make_shared<counting_sink>();
        file->set_pattern("file %v");
        own->set_pattern("own %v");
        own->set_level(spdlog::level::warn);
        auto log = std::make_shared<spdlog::logger>("multi", spdlog::sinks_init_list{file, own});
        spdlog::register_logger(log);
        log->flush_on(spdlog::level::err);
        log->info("quiet {}", 1);
        log->error("loud {}", 2);
        CHECK(test::contents_of(path) == "file quiet 1\nfile loud 2\n"); // flushed by its level
        CHECK(own->lines == std::vector<std::string>{"own loud 2\n"});
        CHECK(own->flushes == 1);
        CHECK_THROWS_AS(spdlog::register_logger(log), spdlog::spdlog_ex);
        spdlog::drop("multi");
        CHECK(spdlog::get("multi") == nullptr);
    }

    TEST_CASE("behind shutdown all is written, whoever still has the logger") {
        const fresh at_end;
        const temporary_directory directory;
        const std::string path = directory / "all.log";
        const auto log = spdlog::basic_logger_mt("all", path);
        log->set_pattern("%v");
        for (int i = 0; i < 1'000; ++i) {
            log->info("{}", i);
        }
        spdlog::shutdown();
        CHECK(lines_of(test::contents_of(path)).size() == 1'000);
    }

    TEST_CASE("a file that rotates is cut into pieces, of which the newest are kept") {
        const fresh at_end;
        const temporary_directory directory;
        const std::string path = directory / "logs/rotating.log";
        auto log = spdlog::rotating_logger_mt("rotating", path, 1'000, 2);
        log->set_pattern("%v");
        for (int i = 0; i < 10; ++i) {
            log->info("{:>499}", i);
            log->flush();
        }
        spdlog::shutdown();
        log.reset(); // what is removed is removed by the end
        std::vector<std::string> sizes;
        for (const auto& each : std::filesystem::directory_iterator(directory / "logs")) {
            sizes.push_back(std::to_string(each.file_size()));
        }
        CHECK(sizes == std::vector<std::string>(3, "1000"));
    }

    TEST_CASE("a file that cannot be opened is a spdlog_ex") {
        const fresh at_end;
        CHECK_THROWS_AS(spdlog::basic_logger_mt("x", "/proc/nowhere/x.log"), spdlog::spdlog_ex);
    }

    TEST_CASE("a backtrace brings up what was below the level") {
        const fresh at_end;
        std::ostringstream to;
        auto log = spdlog::create<spdlog::sinks::ostream_sink_mt>("back", to);
        log->set_pattern("%l %v");
        log->enable_backtrace(2);
        for (int i = 0; i < 10; ++i) {
            log->debug("step {}", i);
        }
        CHECK(to.str().empty());
        log->dump_backtrace();
        log->dump_backtrace(); // nothing is left
        CHECK(to.str() == "info ****************** Backtrace Start ******************\n"
                          "debug step 8\ndebug step 9\n"
                          "info ****************** Backtrace End ********************\n");
    }

    TEST_CASE("what a formatter throws goes to the error handler, and the log goes on") {
        const fresh at_end;
        const temporary_directory directory;
        const std::string path = directory / "app.log";
        std::vector<std::string> errors;
        spdlog::set_error_handler([&](const std::string& what) { errors.push_back(what); });
        auto log = spdlog::basic_logger_mt("app", path);
        log->set_pattern("%v");
        log->info("{}", faulty{});
        log->info("{} {}", 1, faulty{});
        log->info("after");
        log->flush();
        CHECK(errors == std::vector<std::string>{"cannot be formatted", "cannot be formatted"});
        CHECK(test::contents_of(path) == "after\n");
    }

    TEST_CASE("messages of many threads are all there, and asynchronous loggers are just loggers") {
        const fresh at_end;
        const temporary_directory directory;
        const std::string path = directory / "app.log";
        spdlog::init_thread_pool(8192, 1);
        auto log = spdlog::basic_logger_mt<spdlog::async_factory>("async", path);
        log->set_pattern("%v");
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; ++t) {
            threads.emplace_back([&log, t] {
                for (int i = 0; i < 100; ++i) {
                    log->info("{} {}", t, i);
                }
            });
        }
        for (auto& each : threads) {
            each.join();
        }
        log->flush();
        CHECK(lines_of(test::contents_of(path)).size() == 400);
    }

    // TSan knows the number of a thread of the parent's, and takes the child's for it.
    TEST_CASE(
        "the default logger writes to standard output, without colours where it is no terminal" *
        doctest::skip(test::has_tsan)) {
        CHECK(test::in_child([] {
                  const temporary_directory directory;
                  const std::string path = directory / "out";
                  (void)!std::freopen(path.c_str(), "w", stdout);
                  spdlog::set_pattern("%^%l%$ %v");
                  spdlog::info("to {}", "stdout");
                  spdlog::shutdown();
                  return test::contents_of(path);
              }) == "info to stdout\n");
    }

    TEST_CASE("without a standard output the default logger logs nothing, and throws nothing" *
              doctest::skip(test::has_tsan)) {
        CHECK(test::in_child([]() -> std::string {
                  ::close(STDOUT_FILENO);
                  spdlog::info("to {}", "nobody");
                  spdlog::shutdown();
                  return "it went on";
              }) == "it went on");
    }

    TEST_CASE("levels come from SPDLOG_LEVEL") {
        const fresh at_end;
        std::ostringstream to;
        auto first = spdlog::create<spdlog::sinks::ostream_sink_mt>("first", to);
        spdlog::cfg::load_levels("warn,second=debug");
        auto second = spdlog::create<spdlog::sinks::ostream_sink_mt>("second", to);
        CHECK(first->level() == spdlog::level::warn);
        CHECK(second->level() == spdlog::level::debug);
    }

    TEST_CASE("a loop's thread is not held up by a flush that a level asks for") {
        const fresh at_end;
        const temporary_directory directory;
        const std::string path = directory / "app.log";
        auto log = spdlog::basic_logger_mt("app", path);
        log->set_pattern("%v");
        log->flush_on(spdlog::level::trace);
        sapwood::run([&]() -> sapwood::task<> {
            log->info("from a task");
            co_return;
        });
        log->flush();
        CHECK(test::contents_of(path) == "from a task\n");
    }
}
