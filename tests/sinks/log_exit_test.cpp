// A program that ends with a log: nothing that was logged before is missing, whoever ends it and
// in whatever order things are destroyed. Each end has its child process.
#include "support/child_process.hpp"
#include "support/co_test.hpp" // shows vectors
#include "support/log_lines.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/file_log_sink.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>

#include <atomic>
#include <cstdlib>
#include <doctest/doctest.h>
#include <functional>
#include <semaphore>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>

namespace {

using namespace sapwood;
using namespace std::chrono_literals;
using test::contents_of;
using test::in_child;
using test::lines_of;
using test::temporary_directory;

using strings = std::vector<std::string>;

/// Logs when it is destroyed.
struct last_words {
    const logger* log = nullptr;
    const char* words = "";

    ~last_words() {
        if (log != nullptr) {
            log->info("{}", words);
        }
    }
};

const logger* logger_of_handlers = nullptr;

/// What is in the log of a child that runs `body`, which ends it with exit code 0.
strings lines_after(const std::function<void(const std::string& path)>& body) {
    const temporary_directory directory;
    const std::string path = directory / "exit.log";
    CHECK(in_child([&]() -> std::string {
              body(path);
              return "lived on";
          }) == "");
    return lines_of(contents_of(path));
}

} // namespace

TEST_SUITE("log_exit") {

    TEST_CASE("exit on any thread writes what a living logger has") {
        CHECK(lines_after([](const std::string& path) {
                  const logger log{{.path = path, .form = test::bare_form}};
                  log.info("main");
                  std::thread([&] {
                      log.info("thread");
                      std::exit(0);
                  }).join();
              }) == strings{"info main", "info thread"});
    }

    TEST_CASE("quick_exit writes what a living logger has") {
        CHECK(lines_after([](const std::string& path) {
                  const logger log{{.path = path, .form = test::bare_form}};
                  log.info("main");
                  std::quick_exit(0);
              }) == strings{"info main"});
    }

    TEST_CASE("a static logger can be used by what is destroyed before it and after it") {
        CHECK(lines_after([](const std::string& path) {
                  static last_words after;
                  static const logger log{{.path = path, .form = test::bare_form}};
                  static last_words before;
                  after.log = before.log = &log;
                  after.words = "after";
                  before.words = "before";
                  log.info("main");
                  std::exit(0);
              }) == strings{"info main", "info before", "info after"});
    }

    TEST_CASE("a static logger's children and copies can be used after it is gone") {
        CHECK(lines_after([](const std::string& path) {
                  static last_words after;
                  static const logger log{{.path = path, .form = test::bare_form}};
                  static const logger child = log.child("db");
                  after.log = &child;
                  after.words = "after";
                  log.info("main");
                  std::exit(0);
              }) == strings{"info main", "info after"});
    }

    TEST_CASE("atexit handlers can log, registered before the logger was made or after") {
        CHECK(lines_after([](const std::string& path) {
                  std::atexit([] { logger_of_handlers->info("early handler"); });
                  static const logger log{{.path = path, .form = test::bare_form}};
                  logger_of_handlers = &log;
                  log.info("main");
                  std::atexit([] { logger_of_handlers->info("late handler"); });
                  std::exit(0);
              }) == strings{"info main", "info late handler", "info early handler"});
    }

    TEST_CASE("exit in a task writes what the log of the same loop has") {
        CHECK(lines_after([](const std::string& path) {
                  sapwood::run([&]() -> task<> {
                      logger_options options{.path = path, .form = test::bare_form};
                      const logger log = co_await logger::on_this_loop(options);
                      log.info("never turned");
                      std::exit(0);
                  });
              }) == strings{"info never turned"});
        CHECK(lines_after([](const std::string& path) {
                  sapwood::run([&]() -> task<> {
                      logger_options options{.path = path, .form = test::bare_form};
                      const logger log = co_await logger::on_this_loop(options);
                      log.info("being written");
                      co_await yield();
                      log.info("not yet");
                      std::exit(0);
                  });
              }) == strings{"info being written", "info not yet"});
    }

    TEST_CASE("exit in a filter writes what is logged, each record once") {
        constexpr int records = 1'000;
        const auto lines = lines_after([](const std::string& path) {
            std::binary_semaphore all_logged{0};
            logger_options options;
            options.outputs.push_back({.sink = std::make_unique<file_log_sink>(path),
                                       .filter = [&](const log_record& record) {
                                           if (record.message == "number 500") {
                                               all_logged.acquire();
                                               std::exit(0);
                                           }
                                           return true;
                                       }});
            const logger log(std::move(options));
            for (int i = 0; i < records; ++i) {
                log.info("number {}", i);
            }
            all_logged.release();
            log.flush_blocking();
        });
        REQUIRE(lines.size() == records);
        for (int i = 0; i < records; ++i) {
            REQUIRE(lines[static_cast<std::size_t>(i)].ends_with(" number " + std::to_string(i)));
        }
    }

    TEST_CASE("exit on another thread writes what the log of a loop has") {
        CHECK(lines_after([](const std::string& path) {
                  sapwood::run([&]() -> task<> {
                      logger_options options{.path = path, .form = test::bare_form};
                      const logger log = co_await logger::on_this_loop(options);
                      log.info("loop");
                      std::thread([&] {
                          log.info("thread");
                          std::exit(0);
                      }).detach();
                      co_await sleep_for(1h);
                  });
              }) == strings{"info loop", "info thread"});
    }

    TEST_CASE("detached threads may log while the program ends, and nothing from before is lost") {
        constexpr std::size_t threads = 4;
        using counts = std::array<std::atomic<int>, threads>;
        auto* const logged = static_cast<counts*>(::mmap(
            nullptr, sizeof(counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
        REQUIRE(logged != MAP_FAILED);
        const auto lines = lines_after([&](const std::string& path) {
            static const logger log{{.path = path, .form = {.pattern = "%v"}}};
            static counts now;
            for (std::size_t t = 0; t < threads; ++t) {
                std::thread([t] {
                    for (int i = 0;; ++i) {
                        log.info("{} {}", t, i);
                        now[t].store(i + 1, std::memory_order_release);
                    }
                }).detach();
            }
            for (std::size_t t = 0; t < threads; ++t) {
                while (now[t].load(std::memory_order_acquire) < 1'000) {
                    std::this_thread::yield();
                }
            }
            for (std::size_t t = 0; t < threads; ++t) {
                (*logged)[t] = now[t].load(std::memory_order_acquire);
            }
            std::exit(0);
        });
        std::array<int, threads> next{};
        bool in_order = true;
        for (const auto& line : lines) {
            std::istringstream in(line);
            std::size_t thread = 0;
            int number = -1;
            in >> thread >> number;
            in_order = in_order && thread < threads && next[thread % threads]++ == number;
        }
        CHECK(in_order);
        for (std::size_t t = 0; t < threads; ++t) {
            CHECK(next[t] >= (*logged)[t]);
        }
        ::munmap(logged, sizeof(counts));
    }

    TEST_CASE("a sink that is stuck does not keep a program from ending") {
        CHECK(in_child([&]() -> std::string {
                  logger_options options;
                  static std::binary_semaphore entered{0};
                  options.outputs.push_back(
                      {.sink = std::make_unique<callback_log_sink>([](std::string_view) {
                           throw std::system_error(EIO, std::generic_category(), "test sink");
                       }),
                       .stuck_after = 1ms});
                  const logger log(std::move(options));
                  log.info("lost");
                  std::exit(0);
              }) == "");
    }
}
