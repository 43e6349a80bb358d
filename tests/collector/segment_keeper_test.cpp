// Old segments are removed beside the log, on a disk that may hang.
#include "collector/served.hpp"

#include <collector/collector.hpp>

#include <sapwood/owned_fd.hpp>
#include <sapwood/poll.hpp>
#include <sapwood/run.hpp>
#include <sapwood/spawn.hpp>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <memory>
#include <poll.h>
#include <string>
#include <sys/fanotify.h>

namespace {

using namespace std::chrono_literals;
using namespace sapwood;
using namespace sapwood::test;

/// Who opens the directory waits until let_go().
class held_directory {
  public:
    explicit held_directory(const std::string& path)
        : events_(::fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC | FAN_NONBLOCK,
                                  O_RDONLY | O_CLOEXEC)) {
        is_held_ = events_.is_open() &&
                   ::fanotify_mark(events_.fd(), FAN_MARK_ADD, FAN_OPEN_PERM | FAN_ONDIR, AT_FDCWD,
                                   path.c_str()) == 0;
    }

    /// Where not, errno says why.
    [[nodiscard]] bool is_held() const noexcept { return is_held_; }

    [[nodiscard]] owned_fd& events() noexcept { return events_; }

    void let_go() { events_ = owned_fd(); } // the kernel lets all of them

  private:
    owned_fd events_;
    bool is_held_ = false;
};

} // namespace

TEST_SUITE("segment_keeper") {
    TEST_CASE("a disk that hangs while old segments are removed keeps no log from being closed") {
        const temporary_directory directory;
        std::unique_ptr<collector::collector> it; // until the loop has ended: a task looks at it
        run([&]() -> task<> {
            collector::collector_options options;
            auto& log = options.logs.emplace_back();
            log.name = "app";
            log.path = directory / "app.log";
            log.keep.files = 1;
            log.segment_bytes_max = 1u << 20;
            options.listeners.emplace_back().at = loopback();
            options.drain = 100ms;
            it = co_await collector::collector::open(options);
            held_directory disk(directory / "");
            if (!disk.is_held()) {
                MESSAGE("skipped: nobody can be kept from opening a directory here: "
                        << std::strerror(errno));
                co_return;
            }
            auto running = spawn(it->run());
            co_await poll(disk.events(), POLLIN); // the one who removes waits for the disk
            it->stop();
            co_await running;
            CHECK(it->is_stuck());
            REQUIRE(it->left().size() == 1);
            CHECK(has(it->left().front(), "old segments are not removed"));
            CHECK(it->shared().logs.front().log().counts().records_in_flight == 0);
            disk.let_go();
        });
    }

    TEST_CASE("who is told to end before he has begun is not kept by it") {
        const temporary_directory directory;
        run([&]() -> task<> {
            collector::collector_options options;
            auto& log = options.logs.emplace_back();
            log.name = "app";
            log.path = directory / "app.log";
            options.listeners.emplace_back().at = loopback();
            const auto it = co_await collector::collector::open(options);
            it->stop();
            co_await it->run();
            CHECK_FALSE(it->is_stuck());
            CHECK(it->left().empty());
        });
    }
}
