// sapwood serve, from outside: clients that others have written, signals, and a kill in the middle.
#include "support/program.hpp"
#include "support/shell.hpp"
#include "support/temporary_directory.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <memory>
#include <netinet/in.h>
#include <set>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::string_literals;
using sapwood::test::contents_of;
using sapwood::test::eventually;
using sapwood::test::is_installed;
using sapwood::test::program;
using sapwood::test::run_program;
using sapwood::test::shell;
using sapwood::test::temporary_directory;

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

/// A daemon on a port that was free.
class daemon_under_test {
  public:
    explicit daemon_under_test(std::vector<std::string> arguments = {}) {
        arguments.insert(arguments.begin(), {"serve", "--log", log, "--http", "127.0.0.1:0"});
        process_ = std::make_unique<program>("sapwood", std::move(arguments));
        eventually([this] { return has(process_->out_so_far(), "\n"); });
        const std::string out = process_->out_so_far();
        constexpr std::string_view place = "listening for HTTP on 127.0.0.1:";
        REQUIRE(out.starts_with(place));
        port = static_cast<std::uint16_t>(std::stoi(out.substr(place.size())));
    }

    [[nodiscard]] std::string url() const { return fmt::format("http://127.0.0.1:{}", port); }

    void signal(int number) const { process_->signal(number); }

    [[nodiscard]] std::string err_so_far() const { return process_->err_so_far(); }

    program::outcome stop() {
        process_->signal(SIGTERM);
        return process_->wait();
    }

    void kill() {
        process_->signal(SIGKILL);
        process_->wait();
    }

    temporary_directory directory;
    std::string log = directory / "app.log";
    std::uint16_t port = 0;

  private:
    std::unique_ptr<program> process_;
};

/// POSTs numbered records, one at a time, until the daemon is gone; those that got their 200.
std::vector<std::string> post_until_killed(std::uint16_t port, int writer) {
    std::vector<std::string> acknowledged;
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0) {
        for (int i = 0;; ++i) {
            const std::string record = fmt::format(R"({{"writer":{},"n":{}}})", writer, i);
            const std::string request =
                fmt::format("POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
                            record.size(), record);
            if (::send(fd, request.data(), request.size(), MSG_NOSIGNAL) < 0) {
                break;
            }
            std::string answer;
            char piece[512];
            while (!answer.ends_with("}")) {
                const auto got = ::recv(fd, piece, sizeof(piece), 0);
                if (got <= 0) {
                    break;
                }
                answer.append(piece, static_cast<std::size_t>(got));
            }
            if (!answer.starts_with("HTTP/1.1 200 ") || !answer.ends_with("}")) {
                break;
            }
            acknowledged.push_back(record);
        }
    }
    ::close(fd);
    return acknowledged;
}

} // namespace

TEST_SUITE("serve") {
    TEST_CASE("curl is answered, and its record is in the log") {
        if (!is_installed("curl")) {
            return;
        }
        daemon_under_test at;
        CHECK(shell("curl -sS -d '{\"level\":\"info\",\"msg\":\"paid\",\"user\":7}' " + at.url() +
                    "/log") == R"({"status":"1","result":"success"})");
        CHECK(has(shell("curl -sS -d '{' " + at.url() + "/log"), R"({"status":"0",)"));
        const std::string body(100'000, ' ');
        sapwood::test::fill(at.directory / "large", body + "{\"large\":true}");
        CHECK(has(shell("curl -sS --data-binary @" + (at.directory / "large") + " " + at.url() +
                        "/log"), // curl asks before it sends
                  "success"));
        const auto done = at.stop();
        CHECK(done.status == 0);
        CHECK(has(done.out, "2 records, 3 requests by HTTP, 0 connections cut off\n"));
        CHECK(has(contents_of(at.log), R"(] {"level":"info","msg":"paid","user":7})"
                                       "\n"));
        CHECK(has(contents_of(at.log), "] {\"large\":true}\n"));
        CHECK(run_program("sapwood", {"verify", at.log}).status == 0);
    }

    TEST_CASE("Python's HTTPHandler and SysLogHandler need no plug-in") {
        if (!is_installed("python3")) {
            return;
        }
        const temporary_directory sockets;
        daemon_under_test at({"--unix-datagram", sockets / "log"});
        sapwood::test::fill(sockets / "client.py",
                            "import logging, logging.handlers, sys\n"
                            "log = logging.getLogger('shop')\n"
                            "where = '127.0.0.1:' + sys.argv[1]\n"
                            "log.addHandler(logging.handlers.HTTPHandler(where, '/log'))\n"
                            "log.addHandler(logging.handlers.HTTPHandler(where, '/log', 'POST'))\n"
                            "log.addHandler(logging.handlers.SysLogHandler(sys.argv[2]))\n"
                            "log.warning('it is late\\nforged')\n");
        CHECK(shell(fmt::format("python3 {} {} {} 2>&1", sockets / "client.py", at.port,
                                sockets / "log")) == "");
        CHECK(at.stop().status == 0);
        const std::string text = contents_of(at.log);
        CHECK(std::ranges::count(text, '\n') == 3);
        CHECK(has(text, R"( 0 warning [http 127.0.0.1:)"));
        CHECK(has(text, R"({"name":"shop","msg":"it is late\u000aforged",)"));
        CHECK(has(text, R"( facility=user] it is late\nforged)"));
    }

    TEST_CASE("killed under load, it has every record that got its 200, as it was sent") {
        for (int round = 0; round < 5; ++round) {
            daemon_under_test at;
            constexpr int writers = 8;
            std::vector<std::vector<std::string>> acknowledged(writers);
            std::vector<std::thread> threads;
            for (int writer = 0; writer < writers; ++writer) {
                threads.emplace_back([&, writer] {
                    acknowledged[static_cast<std::size_t>(writer)] =
                        post_until_killed(at.port, writer);
                });
            }
            eventually([&] { return contents_of(at.log).size() > 20'000; });
            at.kill();
            for (std::thread& each : threads) {
                each.join();
            }
            std::multiset<std::string> found;
            const std::string text = contents_of(at.log);
            std::size_t begin = 0;
            for (auto end = text.find('\n'); end != text.npos; end = text.find('\n', begin)) {
                const std::string line = text.substr(begin, end - begin);
                found.insert(line.substr(line.find("] ") + 2));
                begin = end + 1;
            }
            std::size_t count = 0;
            for (const auto& each : acknowledged) {
                for (const std::string& record : each) {
                    CHECK(found.count(record) == 1);
                    ++count;
                }
            }
            CHECK(count > 100);
        }
    }

    TEST_CASE("what is wrong with the command line is said, with what would be right") {
        const temporary_directory directory;
        const std::string log = directory / "app.log";
        const auto said = [&](std::vector<std::string> arguments) {
            arguments.insert(arguments.begin(), "serve");
            const auto done = run_program("sapwood", std::move(arguments));
            CHECK(done.status == 2);
            return done.err;
        };
        CHECK(has(said({"--log", log}), "say where to listen: --http"));
        CHECK(has(said({"--http", "127.0.0.1:0"}), "say where to write: --log"));
        CHECK(has(said({"--log", log, "--http", "localhost:0"}), "localhost"));
        CHECK(has(said({"--log", log, "--http", "127.0.0.1:0", "--durability", "often"}),
                  "--durability is batch, none or a number of seconds, not often"));
        CHECK(has(said({"--log", log, "--http", "127.0.0.1:0", "--durability", "none", "--ack",
                        "durable"}),
                  "durability is none"));
        CHECK(has(said({"--log", directory / "none/app.log", "--http", "127.0.0.1:0"}),
                  directory / "none/app.log"));
        CHECK(has(said({"--log", log, "--udp", "other=127.0.0.1:0"}), "log other"));
        CHECK(has(said({"--log", log, "--unix", directory / "s", "--mode", "rw"}), "--mode"));
        CHECK(has(said({"--log", log, "--http", "0.0.0.0:0"}), "--tokens"));
        CHECK(has(said({"--log", log, "--http", "127.0.0.1:0", "--tokens", directory / "none"}),
                  directory / "none"));
        sapwood::test::fill(directory / "tokens", "a short\n");
        CHECK(has(said({"--log", log, "--http", "127.0.0.1:0", "--tokens", directory / "tokens"}),
                  "others may read it: chmod 600 it\n"));
        ::chmod((directory / "tokens").c_str(), 0600);
        CHECK(has(said({"--log", log, "--http", "127.0.0.1:0", "--tokens", directory / "tokens"}),
                  directory / "tokens:1: a token is a name and a secret of at least 16"));
        CHECK(::access(log.c_str(), F_OK) != 0); // all that was before anything was opened
    }

    TEST_CASE("an option of logs is for all of them, or for the one that it names") {
        if (!is_installed("curl")) {
            return;
        }
        const temporary_directory other;
        daemon_under_test at({"--log", "audit=" + (other / "audit.log"), "--format", "audit=json",
                              "--format", "logfmt", "--durability", "audit=none"});
        for (const auto* name : {"/log", "/log/audit"}) {
            CHECK(has(shell("curl -sS -d '{\"msg\":\"paid\"}' " + at.url() + name), "success"));
        }
        CHECK(
            has(shell("curl -sS -d '{\"msg\":\"paid\"}' '" + at.url() + "/log/audit?ack=durable'"),
                "nothing in this log is ever durable"));
        CHECK(at.stop().status == 0);
        CHECK(contents_of(at.log).starts_with("time="));
        CHECK(contents_of(other / "audit.log").starts_with("{\"time\":"));

        const auto said = run_program("sapwood", {"serve", "--log", other / "app.log", "--http",
                                                  "127.0.0.1:0", "--keep-days", "apps=3"});
        CHECK(said.status == 2);
        CHECK(has(said.err, "--keep-days apps=3: there is no --log of that name"));
    }

    TEST_CASE("a log with space made ahead ends with it, until the daemon ends") {
        if (!is_installed("curl")) {
            return;
        }
        for (const bool is_killed : {false, true}) {
            daemon_under_test at({"--preallocate-bytes", "1000000"});
            CHECK(has(shell("curl -sS -d '{\"msg\":\"paid\"}' " + at.url() + "/log"), "success"));
            const std::string lines = contents_of(at.log);
            const std::size_t end = lines.find('\0');
            REQUIRE(end != lines.npos); // or the file system does not know O_DIRECT
            CHECK(lines.size() - end > 500'000);
            CHECK(lines.find_first_not_of('\0', end) == lines.npos);
            CHECK(lines.substr(0, end).ends_with("] {\"msg\":\"paid\"}\n"));
            if (is_killed) {
                at.kill();
            } else {
                CHECK(at.stop().status == 0);
                CHECK(contents_of(at.log) == lines.substr(0, end));
            }
            CHECK(run_program("sapwood", {"verify", at.log}).status == 0);
        }
    }

    TEST_CASE("settings are checked without serving, and what is wrong has its line") {
        const temporary_directory directory;
        const std::string settings = directory / "serve.toml";
        const auto check = [&](const std::string& text) {
            sapwood::test::fill(settings, text);
            return run_program("sapwood", {"serve", "--check", "--config", settings});
        };
        const std::string whole =
            fmt::format("drain_seconds = 5\n"
                        "[[log]]\nname = 'app'\npath = '{0}/app.log'\n"
                        "format = 'json'\ndurability = '0.5'\nack = 'written'\n"
                        "[[log]]\nname = 'billing'\npath = '{0}/billing.log'\n"
                        "[[listen]]\nkind = 'http'\nat = '127.0.0.1:0'\n"
                        "[[listen]]\nkind = 'syslog-datagrams'\n"
                        "at = '{0}/log.sock'\nmode = '666'\nlog = 'billing'\n"
                        "[limits]\nbody_bytes = 1000\nidle_seconds = 2.5\n"
                        "[access]\nhosts = ['logs.example']\n",
                        directory / "");
        const auto well = check(whole);
        if (has(well.err, "built without toml++")) {
            MESSAGE("skipped: built without toml++");
            return;
        }
        CHECK(well.status == 0);
        CHECK(well.out == "serve: 2 logs, 2 places to listen at: well\n");
        CHECK(::access((directory / "app.log").c_str(), F_OK) != 0);
        const auto wrong = [&](const std::string& from, const std::string& to) {
            std::string text = whole;
            text.replace(text.find(from), from.size(), to);
            const auto done = check(text);
            CHECK(done.status == 2);
            return done.err;
        };
        CHECK(has(wrong("'json'", "'xml'"),
                  "serve.toml:5: log.format: must be text, json or logfmt"));
        CHECK(
            has(wrong("'0.5'", "'soon'"), "log.durability is batch, none or a number of seconds"));
        CHECK(has(wrong("'written'", "3"), "serve.toml:7: log.ack: must be a string"));
        CHECK(has(wrong("kind = 'http'", "kind = 'ftp'"), "listen.kind: must be http, lines"));
        CHECK(has(wrong("log = 'billing'", "log = 'none'"), "log none, which there is not"));
        CHECK(has(wrong("body_bytes", "bodybytes"), "limits.bodybytes: is not known here"));
        CHECK(has(wrong("name = 'billing'", "name = '../x'"), "log.name: must be letters"));
        CHECK(has(wrong("[access]", "[access"), "serve.toml:2"));
        CHECK(has(wrong("127.0.0.1:0", "0.0.0.0:0"), "--tokens"));
    }

    TEST_CASE("SIGHUP has tokens read anew; wrong ones change nothing") {
        if (!is_installed("curl")) {
            return;
        }
        const temporary_directory directory;
        const std::string tokens = directory / "tokens";
        const auto write_tokens = [&](const std::string& text) {
            sapwood::test::fill(tokens, text);
            ::chmod(tokens.c_str(), 0600);
        };
        write_tokens("# who may write\nann the-first-secret\n");
        daemon_under_test at({"--tokens", tokens});
        const auto status = [&](const std::string& secret) {
            return shell(
                "curl -sS -o /dev/null -w '%{http_code}' -d '{}' -H 'Authorization: Bearer " +
                secret + "' " + at.url() + "/log");
        };
        CHECK(status("the-first-secret") == "200");
        CHECK(status("the-other-secret") == "401");
        write_tokens("ann the-other-secret\n");
        at.signal(SIGHUP);
        eventually([&] { return status("the-other-secret") == "200"; });
        CHECK(status("the-first-secret") == "401");
        write_tokens("nonsense\n");
        at.signal(SIGHUP);
        eventually([&] { return has(at.err_so_far(), "settings stay as they were"); });
        CHECK(status("the-other-secret") == "200");
        const auto done = at.stop();
        CHECK(has(done.err, "the files that its options name were read again"));
        CHECK(has(done.err, "settings stay as they were"));
    }

    TEST_CASE("told to end while its disk takes nothing, it ends in time and says what is left") {
        rlimit before{};
        REQUIRE(::getrlimit(RLIMIT_FSIZE, &before) == 0);
        // Enough for what it prints.
        const rlimit little{.rlim_cur = 2000, .rlim_max = before.rlim_max};
        const temporary_directory directory;
        const std::string socket = directory / "s";
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &little) == 0); // the daemon inherits it
        daemon_under_test daemon({"--unix", socket, "--drain", "0.4"});
        REQUIRE(::setrlimit(RLIMIT_FSIZE, &before) == 0);
        const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        socket.copy(to.sun_path, sizeof(to.sun_path) - 1);
        REQUIRE(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0);
        const std::string line = std::string(3000, 'x') + "\n";
        REQUIRE(::send(fd, line.data(), line.size(), MSG_NOSIGNAL) == 3001);
        eventually([&] {
            return has(shell("curl -s " + daemon.url() + "/metrics"), "records_total 1\n");
        });
        const auto began = std::chrono::steady_clock::now();
        const auto outcome = daemon.stop();
        CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(9));
        CHECK(outcome.status == 1);
        CHECK(has(outcome.err, "log app: 1 records are not in " + daemon.log));
        ::close(fd);
    }
}
