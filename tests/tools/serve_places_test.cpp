// sapwood serve, from outside: where it listens, and what of that cannot be meant.
#include "support/program.hpp"
#include "support/shell.hpp"
#include "support/temporary_directory.hpp"
#include "tools/serve_daemon.hpp"

#include <collector/settings.hpp>

#include <doctest/doctest.h>
#include <filesystem>
#include <fmt/format.h>
#include <linux/capability.h>
#include <string>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
using sapwood::test::lines_in;
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

    TEST_CASE("an inherited socket that nobody takes is told, by its name if it has one") {
        const temporary_directory folder;
        int port = 0;
        const int fd = bound_to_loopback(SOCK_STREAM, port);
        for (const std::string name : {"", "web"}) {
            const auto done = run_program(
                "sapwood", {"serve", "--log", folder / "app.log", "--http", "127.0.0.1:0"},
                activation({fd}, name));
            CHECK(done.status == 2);
            CHECK(has(done.err, name.empty()
                                    ? fmt::format("a socket at 127.0.0.1:{0} was passed on, and no "
                                                  "listener is for it: have one listen at "
                                                  "127.0.0.1:{0}, or give the socket a "
                                                  "FileDescriptorName=",
                                                  port)
                                    : fmt::format("a socket named web at 127.0.0.1:{} was", port)));
        }
        ::close(fd);
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
        const auto begun = run_program(
            "sapwood", {"serve", "--log", folder / "nowhere/app.log", "--http", "127.0.0.1:0"});
        CHECK(begun.status == 2);
        CHECK(has(begun.err, "there is no folder " + (folder / "nowhere")));
        for (const std::string option : {"--unix", "--unix-datagram"}) {
            const auto socket = run_program("sapwood", {"serve", "--log", folder / "app.log",
                                                        option, folder / "nowhere/log.sock"});
            CHECK(socket.status == 2);
            CHECK(has(socket.err, "there is no folder " + (folder / "nowhere") + ": make it"));
        }
    }

    TEST_CASE(
        "a check looks whether there is a folder for each socket, and nothing else where a log "
        "is to be") {
        const temporary_directory folder;
        const auto checked = [&](const std::string& log, const std::string& socket) {
            return run_program("sapwood", {"serve", "--log", log, "--http", "127.0.0.1:0",
                                           "--unix-datagram", socket, "--check"});
        };
        const std::string log = folder / "app.log";
        const std::string socket = folder / "log.sock";
        CHECK(checked(log, socket).status == 0);
        CHECK(checked(log, "fd:socket").status == 0);
        CHECK(checked(log, "unix:@name").status == 2); // for want of a list of users
        for (const char* const option : {"--unix", "--unix-datagram", "--http", "--tcp"}) {
            CAPTURE(option);
            const auto wrong = run_program(
                "sapwood", {"serve", "--log", log, option, folder / "nowhere/log.sock", "--check"});
            CHECK(wrong.status == 2);
            CHECK(has(wrong.err, "there is no folder " + (folder / "nowhere") + ": make it"));
            CHECK(wrong.out == "");
        }
        fill(log, "old\n");
        CHECK(checked(log, socket).status == 0);
        std::filesystem::create_directory(folder / "directory.log");
        REQUIRE(::mkfifo((folder / "fifo.log").c_str(), 0600) == 0);
        fill(folder / "other.log", "old\n");
        std::filesystem::create_hard_link(folder / "other.log", folder / "hard-link.log");
        std::filesystem::create_symlink("app.log", folder / "link.log");
        std::filesystem::create_symlink("nothing", folder / "dangling-link.log");
        std::filesystem::create_symlink("hard-link.log", folder / "link-to-hard-link.log");
        std::filesystem::create_symlink("fifo.log", folder / "link-to-fifo.log");
        const auto is_refused = [&](const std::string& name, const std::string& why,
                                    const std::vector<std::string>& more) {
            CAPTURE(name);
            for (const bool only_checks : {true, false}) { // who serves refuses it, too
                CAPTURE(only_checks);
                std::vector<std::string> arguments{"serve", "--log", folder / name, "--unix",
                                                   socket};
                arguments.insert(arguments.end(), more.begin(), more.end());
                if (only_checks) {
                    arguments.emplace_back("--check");
                }
                const auto wrong = run_program("sapwood", arguments);
                CHECK(wrong.status == 2);
                CHECK(wrong.out == "");
                CHECK(has(wrong.err,
                          (folder / name) + (only_checks ? ", which " + why : " as a log: ")));
            }
        };
        const std::vector<std::string> unsynced{"--durability", "none"};
        is_refused("directory.log", "is there and is no regular file", {});
        is_refused("fifo.log", "is there and is no regular file", {});
        is_refused("hard-link.log", "has another name (a hard link)", {});
        is_refused("hard-link.log", "has another name (a hard link)", unsynced);
        is_refused("link.log", "is a symbolic link", {});
        is_refused("dangling-link.log", "is a symbolic link", {});
        is_refused("link.log", "is a symbolic link",
                   {"--durability", "none", "--segment-bytes", "100000"});
        is_refused("link-to-hard-link.log", "has another name (a hard link)", unsynced);
        is_refused("link-to-fifo.log", "is there and is no regular file", unsynced);
        for (const char* const name : {"link.log", "dangling-link.log"}) {
            CAPTURE(name);
            CHECK(run_program("sapwood", {"serve", "--log", folder / name, "--durability", "none",
                                          "--unix", socket, "--check"})
                      .status == 0);
        }
        CHECK(!std::filesystem::exists(folder / "nothing"));
    }

    TEST_CASE(
        "a check takes no folder of a socket that is hidden from it for one that is missing") {
        const temporary_directory folder;
        const std::string hidden = folder / "hidden";
        std::filesystem::create_directories(hidden + "/sockets");
        fill(folder / "file", "");
        const auto checked = [&](const std::string& socket) {
            const auto prepare = [] { // root sees all, but for these
                ::prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0);
                ::prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH, 0, 0, 0);
            };
            return run_program("sapwood",
                               {"serve", "--log", folder / "app.log", "--unix", socket, "--check"},
                               {.in = -1, .err = -1, .prepare = prepare});
        };
        REQUIRE(::chmod(hidden.c_str(), 0) == 0);
        const auto well = checked(hidden + "/sockets/log.sock");
        const auto in_hidden = checked(hidden + "/log.sock");
        const auto in_file = checked(folder / "file/log.sock");
        const auto below_file = checked(folder / "file/sockets/log.sock");
        CHECK(::chmod(hidden.c_str(), 0700) == 0); // to be removed by whoever runs this
        CHECK(well.err == "");
        CHECK(well.status == 0);
        CHECK(in_hidden.status == 0);
        CHECK(in_file.status == 2);
        CHECK(has(in_file.err, "there is no folder " + (folder / "file") + ": make it"));
        CHECK(below_file.status == 2);
        CHECK(has(below_file.err, "there is no folder " + (folder / "file/sockets") + ": make it"));
    }

    TEST_CASE("each place is told with what is spoken there") {
        const temporary_directory sockets;
        daemon_under_test at({"--http", "127.0.0.1:0", "--unix", sockets / "lines",
                              "--unix-datagram", sockets / "log", "--tcp", "127.0.0.1:0"},
                             4);
        const auto done = at.stop();
        CHECK(done.status == 0);
        CHECK(has(done.out, fmt::format("listening for HTTP on 127.0.0.1:{}\n", at.ports[0])));
        CHECK(has(done.out, "listening for lines on unix:" + (sockets / "lines\n")));
        CHECK(has(done.out, "listening for syslog datagrams on unix:" + (sockets / "log\n")));
        CHECK(has(done.out, fmt::format("listening for syslog on 127.0.0.1:{}\n", at.ports[1])));
    }

    TEST_CASE("lines as long as they are sent have their octets counted, and what is behind them "
              "is whole") {
        const temporary_directory at;
        daemon_under_test to({"--tcp", at / "syslog"}, 1);
        constexpr std::size_t mebibyte = 1u << 20; // what is more is sent in pieces
        fill(at / "in", std::string(mebibyte, 'x') + "\n" + std::string(3 * mebibyte, 'y') +
                            "\nthe next\nand the last\n");
        const auto sent =
            run_program("sapwood", {"send", "--syslog", "--tag", "app", "--end-within", "60",
                                    "--unix", at / "syslog", at / "in"});
        CHECK(sent.status == 0);
        CHECK(to.stop().status == 0);
        const std::string log = contents_of(to.log);
        CHECK(lines_in(to.log) >= 6);
        CHECK(has(log, "] the next\n"));
        CHECK(has(log, "] and the last\n"));
        CHECK(!has(log, "<14>")); // no message is a part of another
    }

    TEST_CASE("what is for Unix sockets takes a name without a slash for a path") {
        const temporary_directory folder;
        const std::string here = std::filesystem::current_path();
        std::filesystem::current_path(folder / "");
        {
            daemon_under_test at({"--unix", "log.sock", "--unix-datagram", "app=syslog",
                                  "--tcp-lines", "unix:./third"},
                                 3);
            send_as(::getuid(), folder / "log.sock", "by a short name\n");
            CHECK(std::filesystem::is_socket(folder / "syslog"));
            CHECK(std::filesystem::is_socket(folder / "third"));
            CHECK(at.stop().status == 0);
            CHECK(has(contents_of(at.log), "by a short name"));
        }
        std::filesystem::current_path(here);
    }

    TEST_CASE("what is to keep somebody out, and keeps nobody out of anything, is refused") {
        const temporary_directory folder;
        fill(folder / "tokens", "ann 0123456789abcdef\n");
        ::chmod((folder / "tokens").c_str(), 0600);
        const auto said = [&](std::vector<std::string> options) {
            options.insert(options.begin(), {"serve", "--check", "--log", folder / "app.log"});
            const auto done = run_program("sapwood", std::move(options));
            CHECK(done.status == 2);
            return done.err;
        };
        const std::string web = "127.0.0.1:0";
        CHECK(has(said({"--http", web, "--tls-client-ca", "no file"}),
                  "(--tls-client-ca), which needs TLS: --tls-cert FILE --tls-key FILE"));
        CHECK(has(said({"--http", web, "--tls-client", "required"}), "needs --tls-client-ca"));
        CHECK(has(said({"--http", web, "--unix-allow", "no such user"}),
                  "--unix-allow: there is no user no such user"));
        CHECK(has(said({"--http", web, "--unix-allow", "root"}),
                  "--unix-allow is for Unix sockets, and the command line has none"));
        CHECK(has(said({"--http", web, "--unix-allow", web + "=root"}),
                  "--unix-allow is for " + web + ", which is no Unix socket"));
        CHECK(has(said({"--http", web, "--mode", "666"}),
                  "--mode is for Unix sockets, and the command line has none"));
        CHECK(has(said({"--unix", "fd:lines", "--mode", "666"}), "--mode is for Unix sockets"));
        CHECK(has(said({"--unix", folder / "s", "--tokens", folder / "tokens"}),
                  "tokens (--tokens) are for HTTP, and there is no place for it"));
        CHECK(has(said({"--unix", folder / "s", "--host", "logs.example"}),
                  "(--host) are for HTTP, and there is no place for it"));
        CHECK(has(said({"--http", web, "--host", ""}), "(--host) is empty"));
        CHECK(has(said({"--http", web, "--prefetch", "9"}), "--prefetch is for queues"));
        // One for all others, where each has its own, keeps those out that may be added.
        CHECK(run_program("sapwood", {"serve", "--check", "--log", folder / "app.log", "--unix",
                                      folder / "s", "--http", web, "--mode", "600", "--mode",
                                      (folder / "s") + "=666", "--host", "logs.example"})
                  .status == 0);
        if (!sapwood::collector::can_read_settings()) {
            return;
        }
        const auto set = [&](const std::string& at, const std::string& more) {
            fill(folder / "settings",
                 fmt::format("[[log]]\nname = 'app'\npath = '{}'\n[[listen]]\nkind = 'lines'\n"
                             "at = '{}'\n{}",
                             folder / "app.log", at, more));
            return run_program("sapwood", {"serve", "--config", folder / "settings", "--check"});
        };
        CHECK(set(folder / "s", "mode = '666'\n").status == 0);
        for (const std::string at : {"127.0.0.1:0", "fd:lines"}) {
            const auto wrong = set(at, "mode = '666'\n");
            CHECK(wrong.status == 2);
            CHECK(has(wrong.err, "settings:7: listen.mode: is for the path of a Unix socket"));
        }
        CHECK(has(set(folder / "s", "[access]\ntokens = '" + (folder / "tokens") + "'\n").err,
                  "are for HTTP"));
        CHECK(has(set(folder / "s", "[access]\nhosts = ['a']\n").err, "are for HTTP"));
    }

    TEST_CASE("SIGHUP tells what of new settings changes only after a restart") {
        if (!sapwood::collector::can_read_settings()) {
            MESSAGE("skipped: built without toml++");
            return;
        }
        const temporary_directory folder;
        const auto set = [&](const std::string& socket) {
            fill(folder / "settings",
                 fmt::format("[[listen]]\nkind = 'lines'\nat = '{}'\n", folder / socket));
        };
        set("one");
        daemon_under_test at({"--config", folder / "settings"}, 1);
        set("other");
        at.process->signal(SIGHUP);
        sapwood::test::eventually(
            [&] { return has(at.process->err_so_far(), "settings were read again\n"); });
        const auto done = at.stop();
        CHECK(done.status == 0);
        CHECK(has(done.err, "changes only when it is started again: its places to listen at\n"));
        CHECK(!std::filesystem::exists(folder / "other"));
    }

    TEST_CASE("a log that was made for nothing is removed again; one that was there stays") {
        const temporary_directory folder;
        int port = 0;
        const int taken = bound_to_loopback(SOCK_STREAM, port);
        const auto begun = [&](const std::string& log, std::vector<std::string> more) {
            more.insert(more.begin(),
                        {"serve", "--log", log, "--http", fmt::format("127.0.0.1:{}", port)});
            const auto done = run_program("sapwood", std::move(more));
            CHECK(done.status == 2);
            CHECK(has(done.err, "Address already in use"));
        };
        begun(folder / "app.log", {});
        begun(folder / "app.log", {"--preallocate-bytes", "100000"});
        CHECK(std::filesystem::is_empty(folder / ""));
        fill(folder / "app.log", "");
        fill(folder / "other.log", "old\n");
        begun(folder / "app.log", {"--log", folder / "other.log"});
        CHECK(std::filesystem::exists(folder / "app.log"));
        CHECK(contents_of(folder / "other.log") == "old\n");
        ::close(taken);
    }

    TEST_CASE("what cannot be meant is refused with the forms that there are") {
        const temporary_directory folder;
        const auto said = [&](std::vector<std::string> options) {
            options.insert(options.begin(), {"serve", "--check", "--log", folder / "app.log"});
            const auto done = run_program("sapwood", std::move(options));
            CHECK(done.status == 2);
            CHECK(!has(done.err, "resolve()"));
            CHECK(!has(done.err, "Invalid argument"));
            return done.err;
        };
        for (const std::string place : {"localhost:8514", ":8514", "127.0.0.1", "log.sock"}) {
            CHECK(has(said({"--http", place}), "--http: " + place + " is no place to listen at: " +
                                                   "say an address in numbers and a port"));
        }
        CHECK(has(said({"--http", "127.0.0.1:8514", "--http", "127.0.0.1:8514"}),
                  "127.0.0.1:8514 is said twice"));
        CHECK(has(said({"--tcp", folder / "x", "--unix", folder / "x"}), "is said twice"));
        const auto with = [&](const std::string& option, const std::string& value) {
            return said({"--http", "127.0.0.1:0", option, value});
        };
        CHECK(has(with("--segment-bytes", "10"), "segment_bytes is 1000 at least"));
        CHECK(has(with("--preallocate-bytes", "5"), "preallocate_bytes is 4096 at least"));
        CHECK(has(with("--limit", "body_bytes"), "is needed, not nothing"));
        CHECK(has(with("--limit", "idle_seconds="), "is needed, not nothing"));
        if (sapwood::collector::can_read_settings()) {
            CHECK(has(with("--config", folder / "nosuch"),
                      "cannot read settings from " + (folder / "nosuch") + ": No such file"));
            CHECK(has(with("--config", folder / ""), "Is a directory"));
            REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0); // whose open would wait
            CHECK(has(with("--config", folder / "fifo"), "it is no regular file"));
        }
        if (sapwood::tls_context::is_built()) {
            CHECK(has(said({"--http", "127.0.0.1:0", "--tls-cert", folder / "x", "--tls-key",
                            folder / "y"}),
                      (folder / "x") + ": No such file or directory"));
        }
        CHECK(run_program("sapwood", {"serve", "--check", "--log", folder / "app.log", "--http",
                                      "127.0.0.1:0", "--http", "127.0.0.1:0", "--udp",
                                      "127.0.0.1:8514", "--tcp", "127.0.0.1:8514"})
                  .status == 0);
    }
}
