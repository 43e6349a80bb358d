// fork with a log: the child's records are in the same file as the parent's, each of either once.
// The thread sanitizer knows no threads in a child of a process that has others, so most of these
// cases are not for it.
#include "support/child_process.hpp"
#include "support/co_test.hpp" // shows vectors
#include "support/forked_allocator.hpp"
#include "support/log_lines.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/console_log_sink.hpp>
#include <sapwood/file_log_sink.hpp>
#include <sapwood/log_requests.hpp>
#include <sapwood/logger.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/run.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/stream_log_sink.hpp>
#include <sapwood/syslog_log_sink.hpp>
#include <sapwood/when_all.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <map>
#include <memory>
#include <netinet/in.h>
#include <optional>
#include <poll.h>
#include <span>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace sapwood;
using test::contents_of;
using test::lines_of;
using test::temporary_directory;

using strings = std::vector<std::string>;

/// Runs `body` in a child, which then ends by _exit; other threads may run. Returns what waitpid
/// says of it.
int in_fork(const std::function<void()>& body) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        const rlimit no_core{};
        ::setrlimit(RLIMIT_CORE, &no_core);
        body();
        ::_exit(0);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

/// For cases whose children make threads, and need memory for it.
const doctest::skip in_child_threads(test::has_tsan || !test::children_can_allocate());

/// On a port of the loopback's. Calls block, and end with the test.
class tcp_server {
  public:
    tcp_server() : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        address_.sin_family = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof(address_);
        auto* const address = reinterpret_cast<sockaddr*>(&address_);
        REQUIRE(::bind(fd_, address, size) == 0);
        REQUIRE(::listen(fd_, 8) == 0);
        REQUIRE(::getsockname(fd_, address, &size) == 0);
    }

    tcp_server(const tcp_server&) = delete;
    tcp_server& operator=(const tcp_server&) = delete;

    ~tcp_server() { ::close(fd_); }

    std::string port() const { return std::to_string(ntohs(address_.sin_port)); }

    /// -1 where nobody comes.
    int accept() const {
        pollfd one{.fd = fd_, .events = POLLIN, .revents = 0};
        return ::poll(&one, 1, 2000) == 1 ? ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC) : -1;
    }

  private:
    sockaddr_in address_{};
    int fd_;
};

/// Until nothing comes any more; closes it.
std::string read_to_end(int fd) {
    std::string text;
    char piece[512];
    ssize_t got = 0;
    while (fd >= 0 && (got = ::read(fd, piece, sizeof(piece))) > 0) {
        text.append(piece, static_cast<std::size_t>(got));
    }
    if (fd >= 0) {
        ::close(fd);
    }
    return text;
}

/// A pipe, or a socket with a name, that is full until somebody takes all that is in it.
class stuck_peer {
  public:
    stuck_peer(bool is_pipe, const std::string& path) {
        if (is_pipe) {
            REQUIRE(::pipe2(fds_, O_NONBLOCK | O_CLOEXEC) == 0);
        } else {
            sockaddr_un address{};
            address.sun_family = AF_UNIX;
            path.copy(address.sun_path, sizeof(address.sun_path) - 1);
            const auto* const name = reinterpret_cast<const sockaddr*>(&address);
            for (int& fd : fds_) {
                fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
            }
            REQUIRE(::bind(fds_[0], name, sizeof(address)) == 0);
            REQUIRE(::connect(fds_[1], name, sizeof(address)) == 0);
        }
        while (::write(fds_[1], "full", 4) == 4) {
        }
    }

    stuck_peer(const stuck_peer&) = delete;
    stuck_peer& operator=(const stuck_peer&) = delete;

    ~stuck_peer() {
        ::close(fds_[0]);
        ::close(fds_[1]);
    }

    int writer() const { return fds_[1]; }

    /// What comes first, in so many calls.
    std::string take(int calls = 1000) const {
        std::string text;
        char piece[4096];
        ssize_t got = 0;
        while (calls-- > 0 && (got = ::read(fds_[0], piece, sizeof(piece))) > 0) {
            text.append(piece, static_cast<std::size_t>(got));
        }
        return text;
    }

  private:
    int fds_[2] = {-1, -1};
};

/// Has news when it is asked to reopen.
class news_sink final : public log_sink {
  public:
    task<> open() override { co_return; }

    task<> write(std::span<const char>) override { co_return; }

    task<log_news> tend(log_sink_requests asked) override {
        co_return asked.reopen ? log_news(level::info, "news") : log_news();
    }

    task<> close() override { co_return; }

    std::string describe() const override { return "news sink"; }
};

/// Waits, in the middle of what the log says itself, for a fork that is about to come: for a while,
/// because it is to be in vain.
class slow_layout final : public log_layout {
  public:
    std::atomic<bool>& is_inside;
    std::atomic<bool>& is_forking;
    std::atomic<bool>& has_forked;

    slow_layout(std::atomic<bool>& inside, std::atomic<bool>& forking, std::atomic<bool>& forked)
        : is_inside(inside),
          is_forking(forking),
          has_forked(forked) {}

    void append(const log_record& record, log_buffer& to) override {
        if (record.is_own()) {
            is_inside = true;
            while (!is_forking) {
                std::this_thread::yield();
            }
            const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
            while (!has_forked && std::chrono::steady_clock::now() < end) {
                std::this_thread::yield();
            }
            is_inside = false;
        }
        to.append("a line\n");
    }
};

std::size_t threads_of_process() {
    std::size_t count = 0;
    for (const auto& each : std::filesystem::directory_iterator("/proc/self/task")) {
        (void)each;
        ++count;
    }
    return count;
}

} // namespace

TEST_SUITE("log_fork") {

    TEST_CASE("a child logs to the file of its parent, which goes on" * in_child_threads) {
        const temporary_directory directory;
        const std::string path = directory / "fork.log";
        {
            const logger log{{.path = path, .form = test::bare_form}};
            log.info("parent");
            log.flush_blocking();
            CHECK(in_fork([&] {
                      log.info("child");
                      log.child("db").warn("child's db");
                      log.flush_blocking();
                  }) == 0);
            log.info("parent again");
        }
        CHECK(lines_of(contents_of(path)) ==
              strings{"info parent", "info child", "warning child's db", "info parent again"});
    }

    TEST_CASE("what is not written when a process forks is the parent's alone" * in_child_threads) {
        const temporary_directory directory;
        const std::string path = directory / "fork.log";
        sapwood::run([&]() -> task<> {
            logger_options options{.path = path, .form = test::bare_form};
            const logger log = co_await logger::on_this_loop(options);
            log.info("parent"); // and the loop has had no turn
            CHECK(in_fork([&] {
                      log.info("child"); // gets a thread: the loop is the parent's
                      log.flush_blocking();
                      CHECK(threads_of_process() >= 2);
                  }) == 0);
            CHECK(lines_of(contents_of(path)) == strings{"info child"});
        });
        CHECK(lines_of(contents_of(path)) == strings{"info child", "info parent"});
    }

    TEST_CASE("a child that does not log has no thread, and one that execs or ends leaves no mark" *
              in_child_threads) {
        const temporary_directory directory;
        const std::string path = directory / "fork.log";
        {
            std::optional<logger> log(logger_options{.path = path, .form = test::bare_form});
            log->info("parent");
            CHECK(in_fork([&] {
                      if (threads_of_process() != 1) {
                          ::_exit(1);
                      }
                      log.reset(); // waits for nobody
                  }) == 0);
            CHECK(in_fork([&] {
                      log->info("lost with the exec");
                      ::execl("/bin/true", "true", static_cast<char*>(nullptr));
                      ::_exit(1);
                  }) == 0);
            log->info("parent again");
        }
        auto lines = lines_of(contents_of(path));
        std::erase(lines, "info lost with the exec"); // or not
        CHECK(lines == strings{"info parent", "info parent again"});
    }

    TEST_CASE(
        "nothing is missing, twice or torn when processes fork in the middle of heavy logging" *
        in_child_threads) {
        const temporary_directory directory;
        const std::string path = directory / "fork.log";
        constexpr int threads = 4;
        constexpr int forks = 12;
        constexpr int child_records = 300;
        std::map<std::string, int> logged;
        {
            const logger log{{.path = path, .form = {.pattern = "%v"}, .ring_bytes = 64u << 10}};
            std::atomic<bool> is_over{false};
            std::vector<int> counts(threads);
            std::vector<std::thread> all;
            for (int t = 0; t < threads; ++t) {
                all.emplace_back([&, t] {
                    int& count = counts[static_cast<std::size_t>(t)];
                    for (; !is_over.load(std::memory_order_relaxed) && count < 200'000; ++count) {
                        log.info("t{} {} some text to make it longer", t, count);
                    }
                });
            }
            for (int f = 0; f < forks; ++f) {
                const auto child = [&] {
                    for (int i = 0; i < child_records; ++i) {
                        log.info("c{} {} some text to make it longer", f, i);
                    }
                    log.flush_blocking();
                };
                int status = 0;
                if (f % 2 == 0) {
                    status = in_fork(child);
                } else { // not the main thread
                    std::thread([&] { status = in_fork(child); }).join();
                }
                CHECK(status == 0);
                logged["c" + std::to_string(f)] = child_records;
            }
            is_over = true;
            for (auto& each : all) {
                each.join();
            }
            for (int t = 0; t < threads; ++t) {
                logged["t" + std::to_string(t)] = counts[static_cast<std::size_t>(t)];
            }
        }
        std::map<std::string, int> next;
        bool is_exact = true;
        for (const auto& line : lines_of(contents_of(path))) {
            std::istringstream in(line);
            std::string who;
            std::string text;
            int number = -1;
            in >> who >> number;
            std::getline(in, text);
            is_exact = is_exact && next[who]++ == number && text == " some text to make it longer";
        }
        CHECK(is_exact);
        CHECK(next == logged);
    }

    TEST_CASE("a child's lines have the numbers of its own process and threads" *
              in_child_threads) {
        const temporary_directory directory;
        const std::string path = directory / "fork.log";
        std::optional<logger> log(logger_options{.path = path, .form = {.pattern = "%P %t %v"}});
        log->info("parent");
        log->flush_blocking();
        CHECK(in_fork([&] {
                  log->info("child {}", ::getpid());
                  log->flush_blocking();
              }) == 0);
        log.reset();
        const strings lines = lines_of(contents_of(path));
        REQUIRE(lines.size() == 2);
        const std::string own = lines[1].substr(lines[1].rfind(' ') + 1);
        CHECK(own != std::to_string(::getpid()));
        CHECK(lines[0] == fmt::format("{0} {0} parent", ::getpid()));
        CHECK(lines[1] == fmt::format("{0} {0} child {0}", own));
    }

    TEST_CASE("a child has a connection of its own, and its parent's goes on" * in_child_threads) {
        tcp_server server;
        logger_options options;
        options.outputs.push_back(
            {.sink = std::make_unique<tcp_log_sink>(
                 tcp_log_sink_options{.host = "127.0.0.1", .port = server.port()}),
             .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"})});
        std::optional<logger> log(std::move(options));
        log->info("parent");
        log->flush_blocking();
        const int parents = server.accept();
        const int status = in_fork([&] {
            log->info("child");
            log.reset(); // ends its connection
        });
        CHECK(status == 0);
        const int childs = server.accept();
        log->info("parent again");
        log.reset();
        CHECK(read_to_end(parents) == "parent\nparent again\n");
        CHECK(read_to_end(childs) == "child\n");
    }

    TEST_CASE("a child may be forked while its parent waits for a console or a daemon" *
              in_child_threads) {
        for (const bool is_console : {true, false}) {
            CAPTURE(is_console);
            const temporary_directory directory;
            const std::string path = directory / "daemon";
            stuck_peer peer(is_console, path);
            logger_options options;
            options.outputs.push_back(
                {.sink = is_console ? std::unique_ptr<log_sink>(std::make_unique<console_log_sink>(
                                          console_log_sink_options{.fd = peer.writer()}))
                                    : std::make_unique<syslog_log_sink>(syslog_log_sink_options{
                                          .path = path, .limits = {.must_connect = true}}),
                 .form = std::make_unique<text_layout>(text_layout_options{.pattern = "%v"})});
            std::optional<logger> log(std::move(options));
            log->info("parent");
            while (log->stats().outputs.at(0).in_flight == 0) {
                std::this_thread::yield();
            }
            const int status = in_fork([&] {
                (void)peer.take(5); // and not what the parent writes then
                log->info("child");
                log->flush_blocking();
            });
            CHECK(status == 0);
            log.reset();
            const std::string text = peer.take();
            CHECK(text.find("parent") != text.npos);
            CHECK(text.find("child") != text.npos);
        }
    }

    TEST_CASE("a child's child logs, too" * in_child_threads) {
        const temporary_directory directory;
        const std::string path = directory / "fork.log";
        {
            const logger log{{.path = path, .form = test::bare_form}};
            log.info("parent");
            log.flush_blocking();
            CHECK(in_fork([&] {
                      log.info("child");
                      log.flush_blocking();
                      const int status = in_fork([&] {
                          log.info("grandchild");
                          log.flush_blocking();
                      });
                      log.info("child again, {}", status);
                      log.flush_blocking();
                  }) == 0);
            CHECK(in_fork([&] { // which logs nothing itself
                      (void)in_fork([&] {
                          log.info("other grandchild");
                          log.flush_blocking();
                      });
                  }) == 0);
        }
        CHECK(lines_of(contents_of(path)) == strings{"info parent", "info child", "info grandchild",
                                                     "info child again, 0",
                                                     "info other grandchild"});
    }

    TEST_CASE("a child that exits, crashes, or lets go of its logger loses nothing" *
              in_child_threads) {
        const temporary_directory directory;
        const std::string path = directory / "fork.log";
        {
            std::optional<logger> log(logger_options{.path = path, .form = test::bare_form});
            log->info("parent");
            log->flush_blocking();
            CHECK(in_fork([&] {
                      log->info("exits");
                      std::quick_exit(0);
                  }) == 0);
            const int crashed = in_fork([&] {
                std::signal(SIGABRT, SIG_DFL); // doctest's
                const logger own{{.path = directory / "own.log"}};
                log->info("crashes");
                std::abort();
            });
            CHECK(WIFSIGNALED(crashed));
            CHECK(in_fork([&] {
                      log->info("lets go");
                      log.reset();
                  }) == 0);
        }
        const auto lines = lines_of(contents_of(path));
        REQUIRE(lines.size() == 5);
        CHECK(lines[1] == "info exits");
        CHECK(lines[2] == "info crashes");
        CHECK(lines[3].find("critical SIGABRT (abort) in thread ") == 0);
        CHECK(lines[4] == "info lets go");
    }

    TEST_CASE("threads of a child log as those of its parent" * in_child_threads) {
        const temporary_directory directory;
        const std::string path = directory / "fork.log";
        {
            const logger log{{.path = path, .form = test::bare_form}};
            log.info("parent");
            log.flush_blocking();
            CHECK(in_fork([&] {
                      std::vector<std::thread> all;
                      for (int t = 0; t < 8; ++t) {
                          all.emplace_back([&] {
                              for (int i = 0; i < 100; ++i) {
                                  log.info("number {}", i);
                              }
                          });
                      }
                      for (auto& each : all) {
                          each.join();
                      }
                      log.flush_blocking();
                  }) == 0);
        }
        CHECK(test::records_in(lines_of(contents_of(path))) == 800);
    }

    TEST_CASE("threads log on, and others begin to, while their process forks") {
        const test::memory_log to;
        constexpr int threads = 40;
        constexpr int records = 200;
        {
            const logger log(to.options());
            std::atomic<bool> is_over{false};
            std::thread forking([&] {
                while (!is_over) {
                    // Without a word to anybody, a sanitizer included.
                    (void)in_fork([] { ::kill(::getpid(), SIGKILL); });
                }
            });
            for (int t = 0; t < threads; ++t) {
                std::thread([&, own = log.child(std::to_string(t))] {
                    for (int i = 0; i < records; ++i) {
                        own.info("number {}", i);
                    }
                }).join();
            }
            is_over = true;
            forking.join();
        }
        CHECK(test::records_in(to.lines()) == threads * records);
    }

    TEST_CASE("a filter sets levels and makes loggers while its process forks") {
        const test::memory_log to;
        constexpr int records = 200;
        {
            std::atomic<const logger*> log{nullptr};
            std::atomic<int> forks{0};
            logger_options options = to.options();
            options.outputs.front().filter = [&](const log_record&) {
                // Until a fork has come, or is held up by this visit.
                for (int i = 0; i < 100; ++i) {
                    log.load()->set_level(level::info);
                    (void)log.load()->child("of the filter");
                    std::this_thread::yield();
                }
                return true;
            };
            const logger made(std::move(options));
            log = &made;
            std::atomic<bool> is_over{false};
            std::thread forking([&] {
                do {
                    (void)in_fork([] { ::kill(::getpid(), SIGKILL); });
                    ++forks;
                } while (!is_over);
            });
            for (int i = 0; i < records; ++i) {
                made.info("number {}", i);
                made.flush_blocking();
            }
            is_over = true;
            forking.join();
            CHECK(forks > 0);
        }
        CHECK(test::records_in(to.lines()) == records);
    }

    TEST_CASE("no child is forked in the middle of a form that says what a sink tells") {
        std::atomic<bool> is_inside{false};
        std::atomic<bool> is_forking{false};
        std::atomic<bool> has_forked{false};
        logger_options options;
        options.outputs.push_back(
            {.sink = std::make_unique<news_sink>(),
             .form = std::make_unique<slow_layout>(is_inside, is_forking, has_forked)});
        const logger log(std::move(options));
        log.reopen();
        while (!is_inside) {
            std::this_thread::yield();
        }
        is_forking = true;
        const pid_t child = ::fork();
        if (child == 0) {
            ::_exit(is_inside ? 1 : 0); // a copy of what was half changed
        }
        has_forked = true;
        int status = -1;
        ::waitpid(child, &status, 0);
        CHECK(status == 0);
        CHECK_FALSE(is_inside);
    }

    TEST_CASE("two forks at once, one of them in a filter, do not wait for each other" *
              in_child_threads) {
        constexpr int records = 100;
        CHECK(test::in_child([&]() -> std::string {
                  ::alarm(30); // ends it where they do
                  const test::memory_log to;
                  {
                      logger_options options = to.options();
                      options.outputs.front().filter = [](const log_record&) {
                          return in_fork([] {}) == 0;
                      };
                      const logger log(std::move(options));
                      std::atomic<bool> is_over{false};
                      std::thread forking([&] {
                          while (!is_over) {
                              (void)in_fork([] {});
                          }
                      });
                      for (int i = 0; i < records; ++i) {
                          log.info("number {}", i);
                      }
                      log.flush_blocking();
                      is_over = true;
                      forking.join();
                  }
                  return std::to_string(test::records_in(to.lines()));
              }) == "100");
    }

    TEST_CASE("a child's own lines have its own number, too" * in_child_threads) {
        const temporary_directory directory;
        const std::string path = directory / "fork.log";
        {
            const logger log{{.path = path,
                              .form = {.pattern = "%P %v"},
                              .recent = {.records_max = 1, .trigger = level::off}}};
            const auto keep_and_dump = [&] {
                log.debug("kept");
                log.dump_recent();
                log.flush_blocking();
                log.info("child of {}", ::getpid());
                log.flush_blocking();
            };
            keep_and_dump();
            CHECK(in_fork(keep_and_dump) == 0);
        }
        const strings lines = lines_of(contents_of(path));
        REQUIRE(lines.size() == 8);
        for (std::size_t i = 0; i < lines.size(); ++i) {
            const std::string& told = lines[i < 4 ? 3 : 7];
            CAPTURE(lines[i]);
            CHECK(lines[i].starts_with(told.substr(told.rfind(' ') + 1) + " "));
        }
        CHECK(lines[3] != lines[7]);
    }

    TEST_CASE("a child with no descriptor to spare does not wake its parent's log") {
        detail::log_requests requests;
        CHECK(in_fork([&] {
                  rlimit limit{};
                  ::getrlimit(RLIMIT_NOFILE, &limit);
                  limit.rlim_cur = 3;
                  ::setrlimit(RLIMIT_NOFILE, &limit);
                  requests.become_childs();
                  requests.ask_to_reopen();
                  ::_exit(requests.take().reopen ? 0 : 1);
              }) == 0);
        pollfd one{.fd = requests.fd(), .events = POLLIN, .revents = 0};
        CHECK(::poll(&one, 1, 0) == 0);
        requests.ask_to_reopen();
        CHECK(::poll(&one, 1, 0) == 1);
    }

    TEST_CASE("a child takes SIGHUP though another thread took it at the fork" * in_child_threads) {
        CHECK(test::in_child([&]() -> std::string {
                  ::alarm(30);
                  std::atomic<bool> is_over{false};
                  std::thread taking([&] {
                      while (!is_over) {
                          detail::log_requests().reopen_on_hangup();
                      }
                  });
                  int failures = 0;
                  for (int i = 0; i < 200; ++i) {
                      failures += in_fork([] { detail::log_requests().reopen_on_hangup(); });
                  }
                  is_over = true;
                  taking.join();
                  return std::to_string(failures);
              }) == "0");
    }

    TEST_CASE("a log that was closed before the fork stays closed in the child" *
              in_child_threads) {
        const temporary_directory directory;
        const std::string path = directory / "fork.log";
        sapwood::run([&]() -> task<> {
            const logger log{{.path = path, .form = test::bare_form}};
            log.info("before");
            co_await log.close();
            CHECK(in_fork([&] {
                      for (int i = 0; i < 20'000; ++i) { // more than a ring
                          log.info("after");
                      }
                      log.flush_blocking();
                  }) == 0);
        });
        CHECK(lines_of(contents_of(path)) == strings{"info before"});
    }

    TEST_CASE("of a durable log a child's lines have no number, and it cannot wait for the disk" *
              in_child_threads) {
        const temporary_directory directory;
        const auto file = directory / "log";
        logger_options options{.path = file, .form = {.pattern = "%v"}};
        options.durable = durability::batch();
        const logger log(std::move(options));
        log.info("one");
        log.durable_blocking();
        const int status = in_fork([&] {
            log.info("child's");
            log.flush_blocking();
            try {
                log.durable_blocking();
                ::_exit(1);
            } catch (const std::system_error& error) {
                ::_exit(error.code() == std::errc::operation_not_supported ? 0 : 2);
            }
        });
        CHECK(status == 0);
        log.info("two");
        log.durable_blocking();
        std::string messages;
        for (const auto& line : lines_of(contents_of(file))) {
            const auto found = numbered_line::parse(line);
            CHECK(found.is == numbered_line::state::whole);
            messages += fmt::format("{} {}\n", to_number(found.place),
                                    line.substr(numbered_line::head_bytes));
        }
        CHECK(messages == "1 one\n0 child's\n2 two\n");
    }

    TEST_CASE("a child logs while a task of its parent waits for room" * in_child_threads) {
        const temporary_directory directory;
        const std::string path = directory / "fork.log";
        constexpr int parents_records = 64;
        sapwood::run([&]() -> task<> {
            logger_options options{.path = path, .form = test::bare_form, .ring_bytes = 4096};
            const logger log = co_await logger::on_this_loop(options);
            bool waits = false;
            const auto wait = [&]() -> task<> {
                int count = 0;
                while (log.room().await_ready()) {
                    log.info("parent {}", count++);
                }
                waits = true;
                co_await log.room();
                waits = false;
                while (count < parents_records) {
                    co_await log.room();
                    log.info("parent {}", count++);
                }
            };
            const auto fork = [&]() -> task<> {
                CHECK(waits);
                CHECK(in_fork([&] {
                          log.info("child");
                          log.flush_blocking();
                      }) == 0);
                CHECK(waits);
                co_return;
            };
            co_await when_all(wait(), fork());
            CHECK(!waits);
        });
        strings expected{"info child"};
        for (int i = 0; i < parents_records; ++i) {
            expected.push_back(fmt::format("info parent {}", i));
        }
        CHECK(lines_of(contents_of(path)) == expected);
    }
}
