// sapwood serve, from outside: where it listens, and what of that cannot be meant.
#include "support/program.hpp"
#include "support/shell.hpp"
#include "support/temporary_directory.hpp"
#include "tools/serve_daemon.hpp"

#include <collector/settings.hpp>

#include <doctest/doctest.h>
#include <filesystem>
#include <fmt/format.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace {

using sapwood::test::activation;
using sapwood::test::bound;
using sapwood::test::bound_to_loopback;
using sapwood::test::contents_of;
using sapwood::test::daemon_under_test;
using sapwood::test::fill;
using sapwood::test::has;
using sapwood::test::run_program;
using sapwood::test::send_as;
using sapwood::test::shell;
using sapwood::test::temporary_directory;

} // namespace

TEST_SUITE("serve_places") {
    TEST_CASE("the list of users is that of every inherited Unix socket, whatever speaks there") {
        const temporary_directory sockets;
        int port = 0;
        const std::vector<int> fds{bound(sockets / "web", SOCK_STREAM),
                                   bound(sockets / "syslog", SOCK_STREAM),
                                   bound_to_loopback(SOCK_STREAM, port)};
        daemon_under_test at({"--http", "fd:web", "--tcp", "fd:syslog", "--http", "fd:open",
                              "--unix-allow", std::to_string(::getuid() + 1)},
                             3, activation(fds, "web:syslog:open"));
        send_as(::getuid(), sockets / "web",
                "POST /log HTTP/1.1\r\nHost: x\r\nContent-Length: 13\r\n\r\n{\"by\":\"http\"}");
        send_as(::getuid(), sockets / "syslog", "<13>by syslog\n");
        // Whose processes connect to TCP nobody knows: there the list is none.
        const std::string metrics =
            shell(fmt::format("curl -sS http://127.0.0.1:{}/metrics", port));
        CHECK(has(metrics, "sapwood_collector_users_refused_total 2\n"));
        CHECK(at.stop().status == 0);
        CHECK(contents_of(at.log) == "");
        for (const int fd : fds) {
            ::close(fd);
        }
    }

    TEST_CASE("a list of users that names nobody is wrong: it is not everybody's") {
        if (!sapwood::collector::can_read_settings()) {
            MESSAGE("skipped: built without toml++");
            return;
        }
        const temporary_directory folder;
        const auto said = [&](const std::string& allow) {
            fill(
                folder / "settings",
                fmt::format("[[log]]\nname = \"app\"\npath = \"{}\"\n[[listen]]\nkind = \"lines\"\n"
                            "at = \"{}\"\n{}",
                            folder / "app.log", folder / "socket", allow));
            return run_program("sapwood", {"serve", "--config", folder / "settings", "--check"});
        };
        CHECK(said("").status == 0);
        CHECK(said("mode = \"666\"\nallow = [\"root\"]\n").status == 0);
        const auto wrong = said("allow = []\n");
        CHECK(wrong.status == 2);
        CHECK(has(wrong.err, "allow: names nobody"));
    }

    TEST_CASE("a mode and a list of users are of all places, or of the one that they name") {
        const temporary_directory sockets;
        const std::string open = sockets / "open";
        const std::string closed = sockets / "closed";
        daemon_under_test at({"--unix", open, "--unix-datagram", "app=" + closed, "--mode", "640",
                              "--mode", open + "=666", "--unix-allow",
                              open + "=" + std::to_string(::getuid()) + ",4711"},
                             2);
        const auto mode_of = [](const std::string& path) {
            return static_cast<unsigned>(std::filesystem::status(path).permissions());
        };
        CHECK(mode_of(open) == 0666);
        CHECK(mode_of(closed) == 0640);
        send_as(::getuid(), open, "by one who is on the list\n");
        CHECK(at.stop().status == 0);
        CHECK(has(contents_of(at.log), "by one who is on the list"));
        const auto wrong = run_program("sapwood", {"serve", "--log", at.log, "--unix", open,
                                                   "--mode", closed + "=666", "--check"});
        CHECK(wrong.status == 2);
        CHECK(
            has(wrong.err, "--mode is for " + closed + ", at which the command line has nothing"));
    }

    TEST_CASE("a check looks whether there is a folder for the log") {
        const temporary_directory folder;
        const auto checked = [](const std::string& log) {
            return run_program("sapwood",
                               {"serve", "--log", log, "--http", "127.0.0.1:0", "--check"});
        };
        CHECK(checked(folder / "app.log").status == 0);
        const auto wrong = checked(folder / "nowhere/app.log");
        CHECK(wrong.status == 2);
        CHECK(has(wrong.err, "there is no folder " + (folder / "nowhere")));
        CHECK(contents_of(folder / "app.log") == "");
    }
}
