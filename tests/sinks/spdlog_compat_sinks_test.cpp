// spdlog_compat: spdlog's sinks beyond files and the console, and what goes with messages, by the
// names that programs use.
#include "support/co_test.hpp" // shows vectors
#include "support/log_lines.hpp"
#include "support/sockets.hpp"
#include "support/temporary_directory.hpp"

#include <sapwood/spdlog_compat.hpp>

#include <sapwood/datagram.hpp>
#include <sapwood/syslog_log_sink.hpp>

#include <chrono>
#include <cstdio>
#include <doctest/doctest.h>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

namespace test = sapwood::test;
using namespace std::chrono_literals;
using test::contents_of;
using test::lines_of;
using test::temporary_directory;
using strings = std::vector<std::string>;

struct none_left {
    none_left() = default;
    none_left(const none_left&) = delete;
    none_left& operator=(const none_left&) = delete;

    ~none_left() {
        spdlog::shutdown();
        spdlog::mdc::clear();
    }
};

/// The next datagram. The log that sends it has been flushed.
std::string received(int fd) {
    std::string text(4096, '\0');
    const auto got = ::recv(fd, text.data(), text.size(), MSG_DONTWAIT);
    return got < 0 ? "nothing" : text.substr(0, static_cast<std::size_t>(got));
}

/// A flag of a program's own.
class account_flag final : public spdlog::custom_flag_formatter {
  public:
    explicit account_flag(std::string text) : text_(std::move(text)) {}

    void format(const spdlog::details::log_msg& msg, const std::tm&,
                spdlog::memory_buf_t& dest) override {
        const std::string text = text_ + std::to_string(msg.payload.size()) +
                                 std::string(msg.logger_name.data(), msg.logger_name.size()) + "\n";
        dest.append(text.data(), text.data() + text.size());
    }

    [[nodiscard]] std::unique_ptr<custom_flag_formatter> clone() const override {
        return spdlog::details::make_unique<account_flag>(text_);
    }

  private:
    std::string text_;
};

std::string hex(const std::string& format, const std::vector<unsigned char>& bytes,
                std::size_t bytes_per_line = 32) {
    return fmt::format(fmt::runtime(format), spdlog::to_hex(bytes, bytes_per_line));
}

} // namespace

TEST_SUITE("spdlog_compat_sinks") {

    TEST_CASE("a UDP logger sends a datagram for each line of its pattern") {
        const none_left at_end;
        const sapwood::udp_socket server(test::loopback());
        spdlog::sinks::udp_sink_config config("127.0.0.1", server.local_endpoint().port());
        auto log = spdlog::udp_logger_mt("udplog", config);
        log->set_pattern("[%n] %v");
        log->info("hello {}", "world");
        log->flush();
        CHECK(received(server.fd()) == "[udplog] hello world");
    }

    TEST_CASE("a TCP sink sends lines, and throws where nobody is there, unless it is lazy") {
        const none_left at_end;
        sapwood::endpoint place;
        {
            const sapwood::tcp_listener gone(test::loopback());
            place = gone.local_endpoint();
        }
        spdlog::sinks::tcp_sink_config config("127.0.0.1", place.port());
        CHECK_THROWS_AS(std::make_shared<spdlog::sinks::tcp_sink_mt>(config), spdlog::spdlog_ex);
        config.lazy_connect = true;
        auto sink = std::make_shared<spdlog::sinks::tcp_sink_mt>(config);
        const sapwood::tcp_listener listener(place);
        spdlog::logger log("tcp", sink);
        log.set_pattern("%l %v");
        log.info("one");
        log.warn("two");
        log.flush();
        const int peer = ::accept(listener.fd(), nullptr, nullptr);
        CHECK(received(peer) == "info one\nwarning two\n");
        ::close(peer);
    }

    TEST_CASE("syslog gets the message alone, or as its pattern has it") {
        const none_left at_end;
        const temporary_directory directory;
        const std::string path = directory / "log";
        const sapwood::unix_datagram daemon(sapwood::endpoint::unix_path(path));
        // The daemon's place is not spdlog's to say.
        const auto lines_of_daemon = [&](bool enable_formatting) {
            auto sink = std::make_shared<spdlog::sinks::syslog_sink_mt>("app", LOG_PID, LOG_LOCAL0,
                                                                        enable_formatting, path);
            spdlog::logger log("named", sink);
            log.set_pattern("(%n) %v");
            log.log(spdlog::source_loc{"file.cpp", 7, "f"}, spdlog::level::warn, "a \\ b");
            log.flush();
            return received(daemon.fd());
        };
        const std::string head = "app[" + std::to_string(::getpid()) + "]: ";
        const std::string alone = lines_of_daemon(false);
        CHECK(alone.starts_with("<132>"));
        CHECK(alone.ends_with(head + "a \\\\ b"));
        CHECK(lines_of_daemon(true).ends_with(head + "(named) a \\\\ b"));
    }

    TEST_CASE("the journal gets the message and what goes with it as fields") {
        const none_left at_end;
        const temporary_directory directory;
        const std::string path = directory / "socket";
        const sapwood::unix_datagram daemon(sapwood::endpoint::unix_path(path));
        auto sink = std::make_shared<spdlog::sinks::systemd_sink_mt>("app", false, path);
        spdlog::logger log("named", sink);
        log.log(spdlog::source_loc{"file.cpp", 7, "f"}, spdlog::level::err, "it failed");
        log.flush();
        const std::string entry = received(daemon.fd());
        CAPTURE(entry);
        CHECK(entry.starts_with("MESSAGE=it failed\nPRIORITY=3\nSYSLOG_IDENTIFIER=app\n"));
        CHECK(entry.find("LOGGER=named\nCODE_FILE=file.cpp\nCODE_LINE=7\nCODE_FUNC=f\n") !=
              std::string::npos);
    }

    TEST_CASE("repetitions are left out for a while, and their number is told") {
        const none_left at_end;
        auto to = std::make_shared<spdlog::sinks::ringbuffer_sink_mt>(100);
        auto filter = std::make_shared<spdlog::sinks::dup_filter_sink_mt>(5s, spdlog::level::warn);
        filter->add_sink(to);
        spdlog::logger log("dup", filter);
        log.set_pattern("%l %v");
        const auto now = std::chrono::system_clock::now();
        const auto say = [&](std::chrono::seconds when, const char* text) {
            log.log(now + when, spdlog::source_loc{}, spdlog::level::info, text);
        };
        say(0s, "hello");
        say(1s, "hello");
        say(5s, "hello");
        say(5s, "other");
        say(6s, "hello");
        say(12s, "hello"); // the last one was too long ago
        CHECK(to->last_formatted() == strings{"info hello\n",
                                              "warning Skipped 2 duplicate messages..\n",
                                              "info other\n", "info hello\n", "info hello\n"});
        CHECK(to->last_raw(1).front().payload == "hello");
    }

    TEST_CASE("what a thread is at goes with its messages, where the pattern shows it") {
        const none_left at_end;
        const temporary_directory directory;
        const std::string path = directory / "app.log";
        auto log = spdlog::basic_logger_mt("app", path);
        log->set_pattern("[%&] %v");
        log->info("before");
        spdlog::mdc::put("user", "ann\n");
        spdlog::mdc::put("request", "17");
        log->info("with {}", 2);
        std::thread([&] { log->info("another thread"); }).join();
        spdlog::mdc::remove("user");
        log->info("with one");
        CHECK(spdlog::mdc::get("request") == "17");
        CHECK(spdlog::mdc::get("user").empty());
        log->set_pattern("%+");
        log->info("as always");
        spdlog::mdc::clear();
        log->info("without");
        log->flush();
        auto lines = lines_of(contents_of(path));
        REQUIRE(lines.size() == 6);
        for (std::size_t i = 4; i < 6; ++i) {
            lines[i].erase(0, lines[i].find(" [app]"));
        }
        CHECK(lines == strings{"[] before", "[request:17 user:ann\\n] with 2", "[] another thread",
                               "[request:17] with one", " [app] [info] [request:17] as always",
                               " [app] [info] without"});
    }

    TEST_CASE("bytes are shown in hexadecimal digits, as spdlog does") {
        const std::vector<unsigned char> bytes{9, 10, 11, 0x41, 12, 0x4b, 0xff, 0xff};
        CHECK(hex("{}", bytes) == "\n0000: 09 0a 0b 41 0c 4b ff ff");
        CHECK(hex("{:n}", bytes) == "09 0a 0b 41 0c 4b ff ff");
        CHECK(hex("{:Xsn}", bytes) == "090A0B410C4BFFFF");
        CHECK(hex("{:p}", bytes, 6) == "\n09 0a 0b 41 0c 4b\nff ff");
        CHECK(hex("{:Xsa}", bytes, 6) == "\n0000: 090A0B410C4B  ...A.K\n0006: FFFF          ..");
        CHECK(hex("{}", {}) == "");
        const char text[] = {'a', 'b'};
        CHECK(fmt::format("{:n}", spdlog::to_hex(std::begin(text), std::end(text))) == "61 62");
    }

    TEST_CASE("a hexadecimal dump is one record, and so one line") {
        const none_left at_end;
        std::ostringstream to;
        auto log = spdlog::create<spdlog::sinks::ostream_sink_mt>("hex", to);
        log->set_pattern("%v");
        log->info("bytes {}", spdlog::to_hex(std::string("ab")));
        CHECK(to.str() == "bytes \\n0000: 61 62\n");
    }

    TEST_CASE("a rotating logger may begin a new file when it begins") {
        const none_left at_end;
        const temporary_directory directory;
        const std::string path = directory / "app.log";
        const auto run = [&](const char* text, bool rotate_on_open) {
            auto log = spdlog::rotating_logger_mt("app", path, 1'000'000, 5, rotate_on_open);
            log->set_pattern("%v");
            log->info(text);
            spdlog::shutdown();
        };
        run("first", true);
        run("second", false);
        run("third", true);
        CHECK(contents_of(path) == "third\n");
        std::size_t older = 0;
        for (const auto& each : std::filesystem::directory_iterator(directory / ".")) {
            if (each.path().filename() != "app.log") {
                ++older;
                CHECK(contents_of(each.path()) == "first\nsecond\n");
            }
        }
        CHECK(older == 1);
        CHECK_THROWS_AS(spdlog::rotating_logger_mt("none", path, 0, 5), spdlog::spdlog_ex);
    }

    TEST_CASE("a file's handlers are called in order, with a FILE to write to") {
        const none_left at_end;
        const temporary_directory directory;
        const std::string path = directory / "logs/app.log";
        std::string calls;
        spdlog::file_event_handlers handlers;
        handlers.before_open = [&](const spdlog::filename_t&) { calls += "before open, "; };
        handlers.after_open = [&](const spdlog::filename_t& name, std::FILE* file) {
            calls += "after open, ";
            CHECK(name == path);
            std::fputs("# head\n", file);
        };
        handlers.before_close = [&](const spdlog::filename_t&, std::FILE* file) {
            calls += "before close, ";
            std::fputs("# foot\n", file);
        };
        handlers.after_close = [&](const spdlog::filename_t&) { calls += "after close"; };
        {
            spdlog::logger log(
                "app", std::make_shared<spdlog::sinks::basic_file_sink_mt>(path, true, handlers));
            log.set_pattern("%v");
            log.info("line");
        }
        CHECK(calls == "before open, after open, before close, after close");
        CHECK(contents_of(path) == "# head\nline\n# foot\n");
    }

    TEST_CASE("a pattern may have flags of the program's own, which cannot break a line") {
        const none_left at_end;
        const temporary_directory directory;
        const std::string path = directory / "app.log";
        auto log = spdlog::basic_logger_mt("app", path);
        auto form = std::make_unique<spdlog::pattern_formatter>();
        form->add_flag<account_flag>('*', "n").set_pattern("%*|%v|%*");
        log->set_formatter(std::move(form));
        log->info("four");
        log->flush();
        CHECK(contents_of(path) == "n4app\\n|four|n4app\\n\n");
    }

    TEST_CASE("what is no flag stands as it is, and widths are at most 64") {
        std::ostringstream to;
        auto log = std::make_shared<spdlog::logger>(
            "x", std::make_shared<spdlog::sinks::ostream_sink_mt>(to));
        log->set_pattern("%] %J %3!l %-300n| 100%% %v%");
        log->warn("w");
        CHECK(to.str() == "%] %J war x" + std::string(63, ' ') + "| 100% w\n");
    }

    TEST_CASE("a formatter ends its lines as it is told") {
        spdlog::pattern_formatter form("%v", spdlog::pattern_time_type::utc, "<br>");
        spdlog::memory_buf_t line;
        form.format(spdlog::details::log_msg("x", spdlog::level::info, "text"), line);
        CHECK(std::string(line.data(), line.size()) == "text<br>");
    }

    TEST_CASE("asynchronous loggers are made as programs make them") {
        const none_left at_end;
        const temporary_directory directory;
        const std::string path = directory / "app.log";
        spdlog::init_thread_pool(
            8192, 1, [] {}, [] {});
        std::vector<spdlog::sink_ptr> sinks{
            std::make_shared<spdlog::sinks::rotating_file_sink<std::mutex>>(path, 1'000'000, 3)};
        auto log = std::make_shared<spdlog::async_logger>("async", sinks.begin(), sinks.end(),
                                                          spdlog::thread_pool(),
                                                          spdlog::async_overflow_policy::block);
        spdlog::register_or_replace(log);
        spdlog::flush_every(3s);
        spdlog::get("async")->set_pattern("%v");
        spdlog::get("async")->info("one");
        log->flush();
        CHECK(contents_of(path) == "one\n");
    }

    TEST_CASE("levels come from arguments, and from a variable of any name") {
        const none_left at_end;
        std::ostringstream to;
        auto log = spdlog::create<spdlog::sinks::ostream_sink_mt>("log", to);
        const char* const arguments[] = {"program", "--x", "SPDLOG_LEVEL=log=trace"};
        spdlog::cfg::load_argv_levels(3, arguments);
        CHECK(log->level() == spdlog::level::trace);
        ::setenv("APP_LEVEL", "log=err", 1);
        spdlog::cfg::load_env_levels("APP_LEVEL");
        ::unsetenv("APP_LEVEL");
        CHECK(log->level() == spdlog::level::err);
        spdlog::cfg::load_levels("");
    }
}
