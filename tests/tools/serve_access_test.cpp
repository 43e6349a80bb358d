// sapwood serve, from outside: who is let in, and how its operator handles it.
#include "support/program.hpp"
#include "support/shell.hpp"
#include "support/temporary_directory.hpp"
#include "tools/authority.hpp"
#include "tools/serve_daemon.hpp"

#include <collector/settings.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::string_literals;
using sapwood::test::activation;
using sapwood::test::bound;
using sapwood::test::bound_to_loopback;
using sapwood::test::connected_to;
using sapwood::test::contents_of;
using sapwood::test::daemon_under_test;
using sapwood::test::eventually;
using sapwood::test::fill;
using sapwood::test::has;
using sapwood::test::has_tls;
using sapwood::test::is_installed;
using sapwood::test::lines_in;
using sapwood::test::openssl_authority;
using sapwood::test::program;
using sapwood::test::run_program;
using sapwood::test::send_as;
using sapwood::test::shell;
using sapwood::test::temporary_directory;

constexpr uid_t nobody = 65534;

} // namespace

TEST_SUITE("serve_access") {
    TEST_CASE("curl, Python and openssl speak TLS to it, and certificates are asked for") {
        if (!has_tls() || !is_installed("curl") || !is_installed("python3")) {
            return;
        }
        openssl_authority ca;
        ca.issue("server");
        ca.issue("shop");
        daemon_under_test at({"--http", "127.0.0.1:0", "--tcp", "127.0.0.1:0", "--tcp-lines",
                              "127.0.0.1:0", "--http", "plain:127.0.0.1:0", "--tls-cert",
                              ca.cert("server"), "--tls-key", ca.key("server"), "--tls-client-ca",
                              ca.ca()},
                             4);
        REQUIRE(at.ports.size() == 4);
        const std::string shop = fmt::format(" --cacert {} --cert {} --key {}", ca.ca(),
                                             ca.cert("shop"), ca.key("shop"));
        const std::string url = fmt::format(" https://localhost:{}/log", at.ports[0]);
        CHECK(shell("curl -sS -d '{\"n\":1}'" + shop + url + " 2>&1") ==
              R"({"status":"1","result":"success"})");
        CHECK(shell("curl -sS -o /dev/null -w '%{http_version}' --tls-max 1.2 -d '{\"n\":2}'" +
                    shop + url + " 2>&1") == "1.1");
        // The handshake of 1.3 is over for the client before it is refused.
        CHECK(has(shell("curl -sS -d '{\"n\":3}' --cacert " + ca.ca() + url + " 2>&1"), "alert"));
        CHECK(has(shell("curl -sS --tls-max 1.1 --ciphers DEFAULT@SECLEVEL=0 -d '{}'" + shop + url +
                        " 2>&1"),
                  "curl: (35)"));
        CHECK(has(shell(fmt::format("curl -sS -d '{{}}' http://127.0.0.1:{}/log", at.ports[0])),
                  "say https, not http"));
        CHECK(shell(fmt::format("curl -sS -d '{{\"n\":4}}' http://127.0.0.1:{}/log",
                                at.ports[1])) == R"({"status":"1","result":"success"})");
        const std::string client = fmt::format(
            "openssl s_client -quiet -no_ign_eof -verify_return_error -CAfile {} -cert {} -key {} "
            "-connect 127.0.0.1:{} 2>&1 >/dev/null",
            ca.ca(), ca.cert("shop"), ca.key("shop"), at.ports[2]);
        (void)shell("printf '<13>1 - web nginx - - - over TLS\\n' | " + client);
        fill(at.directory / "client.py",
             "import socket, ssl, sys\n"
             "c = ssl.create_default_context(cafile=sys.argv[1])\n"
             "c.load_cert_chain(sys.argv[2], sys.argv[3])\n"
             "s = c.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[4]))), "
             "server_hostname='localhost')\n"
             "for i in range(1000): s.sendall(b'python %d\\n' % i)\n"
             "s.close()\n"); // without reading, and without a close_notify
        CHECK(shell(fmt::format("python3 {} {} {} {} {} 2>&1", at.directory / "client.py", ca.ca(),
                                ca.cert("shop"), ca.key("shop"), at.ports[3])) == "");
        eventually([&] { return lines_in(at.log) >= 1004; });
        CHECK(at.stop().status == 0);
        const std::string text = contents_of(at.log);
        CHECK(std::ranges::count(text, '\n') == 1004);
        CHECK(has(text, " cert=shop] {\"n\":1}\n"));
        CHECK(has(text, " cert=shop] {\"n\":2}\n"));
        CHECK(!has(text, "{\"n\":3}"));
        CHECK(has(text, " cert=shop facility=user host=web app=nginx] over TLS\n"));
        CHECK(has(text, " cert=shop] python 999\n"));
    }

    TEST_CASE("a certificate is looked at in every handshake: where it is asked for, no session is "
              "gone on with") {
        if (!has_tls()) {
            return;
        }
        openssl_authority ca;
        ca.issue("server");
        ca.issue("shop");
        const auto resumed = [&](std::vector<std::string> asking, const std::string& version) {
            asking.insert(asking.begin(), {"--http", "127.0.0.1:0", "--tls-cert", ca.cert("server"),
                                           "--tls-key", ca.key("server")});
            daemon_under_test at(std::move(asking), 1);
            const std::string session = at.directory / "session";
            const std::string client = fmt::format(
                "printf 'GET /healthz HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: "
                "close\\r\\n\\r\\n' | openssl s_client -{} -ign_eof -CAfile {} -cert {} -key {} "
                "-connect 127.0.0.1:{} ",
                version, ca.ca(), ca.cert("shop"), ca.key("shop"), at.ports[0]);
            const std::string first = shell(client + "-sess_out " + session + " 2>&1");
            const std::string second = shell(client + "-sess_in " + session + " 2>&1");
            CHECK(has(first, "HTTP/1.1 200 "));
            CHECK(at.stop().status == 0);
            return has(second, "\nReused, TLS");
        };
        for (const std::string version : {"tls1_3", "tls1_2"}) {
            CHECK(resumed({}, version));
            CHECK(!resumed({"--tls-client-ca", ca.ca()}, version));
            CHECK(!resumed({"--tls-client-ca", ca.ca(), "--tls-client", "optional"}, version));
        }
    }

    TEST_CASE("whether clients need certificates an option decides where it is given, and the "
              "settings otherwise") {
        if (!has_tls() || !is_installed("curl") || !sapwood::collector::can_read_settings()) {
            return;
        }
        openssl_authority ca;
        ca.issue("server");
        const auto lets_anybody_in = [&](const std::string& set, std::vector<std::string> options) {
            const std::string settings = ca.directory / "settings";
            fill(settings, fmt::format("[tls]\ncert = '{}'\nkey = '{}'\nclient_ca = '{}'\n{}",
                                       ca.cert("server"), ca.key("server"), ca.ca(), set));
            options.insert(options.begin(), {"--http", "127.0.0.1:0", "--config", settings});
            daemon_under_test at(std::move(options), 1);
            REQUIRE(at.ports.size() == 1);
            const std::string said =
                shell(fmt::format("curl -sS -d '{{}}' --cacert {} https://localhost:{}/log 2>&1",
                                  ca.ca(), at.ports[0]));
            CHECK(at.stop().status == 0);
            CHECK((lines_in(at.log) == 1) == has(said, "success"));
            return has(said, "success");
        };
        CHECK(!lets_anybody_in("client = 'optional'\n", {"--tls-client", "required"}));
        CHECK(lets_anybody_in("client = 'optional'\n", {}));
        CHECK(lets_anybody_in("client = 'required'\n", {"--tls-client", "optional"}));
        CHECK(!lets_anybody_in("", {}));
    }

    TEST_CASE("settings that want no TLS any more change what can be changed: a token that is "
              "called back counts no more") {
        if (!has_tls() || !is_installed("curl") || !sapwood::collector::can_read_settings()) {
            return;
        }
        openssl_authority ca;
        ca.issue("server");
        const std::string tokens = ca.directory / "tokens";
        const std::string settings = ca.directory / "settings";
        fill(tokens, "old the-first-secret\nnew the-second-secret\n");
        ::chmod(tokens.c_str(), 0600);
        const std::string access = fmt::format("[access]\ntokens = '{}'\n", tokens);
        fill(settings, access + fmt::format("[tls]\ncert = '{}'\nkey = '{}'\n", ca.cert("server"),
                                            ca.key("server")));
        daemon_under_test at({"--http", "127.0.0.1:0", "--config", settings}, 1);
        REQUIRE(at.ports.size() == 1);
        const auto status = [&](const std::string& secret) {
            return shell(fmt::format("curl -sS -o /dev/null -w '%{{http_code}}' -d '{{}}' --cacert "
                                     "{} -H 'Authorization: Bearer {}' https://localhost:{}/log",
                                     ca.ca(), secret, at.ports[0]));
        };
        CHECK(status("the-first-secret") == "200");
        fill(settings, access);
        fill(tokens, "new the-second-secret\n");
        at.process->signal(SIGHUP);
        eventually([&] { return has(at.process->err_so_far(), "settings "); });
        CHECK(status("the-first-secret") == "401");
        CHECK(status("the-second-secret") == "200"); // by TLS, still
        const auto done = at.stop();
        CHECK(done.status == 0);
        CHECK(has(done.err, "settings were read again\n"));
        CHECK(has(done.err, "changes only when it is started again: its places to listen at\n"));
    }

    TEST_CASE("certificates are read anew under load, and no request is dropped") {
        if (!has_tls() || !is_installed("python3")) {
            return;
        }
        openssl_authority ca;
        ca.issue("server");
        ca.issue("other");
        daemon_under_test at({"--http", "127.0.0.1:0", "--tls-cert", ca.cert("server"), "--tls-key",
                              ca.key("server")},
                             1);
        // Half of the requests on connections that stay, half on new ones.
        fill(at.directory / "load.py",
             "import http.client, os, ssl, sys\n"
             "c = ssl.create_default_context(cafile=sys.argv[1])\n"
             "kept = http.client.HTTPSConnection('localhost', int(sys.argv[2]), context=c)\n"
             "rounds = 0\n"
             "while rounds == 0 or not os.path.exists(sys.argv[3]):\n"
             "    rounds += 1\n"
             "    fresh = http.client.HTTPSConnection('localhost', int(sys.argv[2]), context=c)\n"
             "    for each in (kept, fresh):\n"
             "        each.request('POST', '/log', '{}')\n"
             "        r = each.getresponse()\n"
             "        r.read()\n"
             "        if r.status != 200: print(r.status)\n"
             "    fresh.close()\n"
             "print('requests:', 2 * rounds)\n");
        // In rounds, until there is a file `stop`.
        const std::string stop = at.directory / "stop";
        const std::string run_load = fmt::format(
            "python3 {} {} {} {} 2>&1", at.directory / "load.py", ca.ca(), at.ports[0], stop);
        std::atomic<bool> is_over{false};
        std::string said;
        std::thread load([&] {
            said = shell(run_load);
            is_over = true;
        });
        const auto put = [&](const std::string& name) {
            std::filesystem::copy_file(ca.key(name), ca.key("server") + ".new");
            std::filesystem::copy_file(ca.cert(name), ca.cert("server") + ".new");
            std::filesystem::rename(ca.key("server") + ".new", ca.key("server"));
            std::filesystem::rename(ca.cert("server") + ".new", ca.cert("server"));
        };
        ca.issue("third");
        unsigned reloads = 0;
        while (!is_over && (reloads <= 3 || lines_in(at.log) < 200)) {
            put(reloads % 2 == 0 ? "other" : "third");
            at.process->signal(SIGHUP);
            ++reloads;
            eventually([&] { return is_over || lines_in(at.log) > 20 * std::size_t{reloads}; });
        }
        fill(stop, "");
        load.join();
        constexpr std::string_view counted = "requests: ";
        CAPTURE(said);
        REQUIRE(said.starts_with(counted));
        const std::size_t requests = std::stoul(said.substr(counted.size()));
        CHECK(said == fmt::format("requests: {}\n", requests)); // and of none another status
        CHECK(requests >= 200);
        CHECK(reloads > 3);
        fill(ca.cert("server"), "nonsense");
        at.process->signal(SIGHUP);
        CHECK(shell(run_load) == "requests: 2\n");
        eventually([&] { return has(at.process->err_so_far(), "settings stay as they were"); });
        const auto done = at.stop();
        CHECK(done.status == 0);
        CHECK(has(done.err, "the files that its options name were read again"));
        CHECK(has(done.err, "settings stay as they were: cannot use the certificate"));
        CHECK(lines_in(at.log) == requests + 2);
    }

    TEST_CASE("of a Unix socket only users on the list are taken, each told by the kernel") {
        if (::geteuid() != 0) {
            MESSAGE("skipped: needs root, to be somebody else");
            return;
        }
        const temporary_directory sockets;
        ::chmod((sockets / "").c_str(), 0755);
        const std::string stream = sockets / "lines";
        daemon_under_test at({"--unix", stream, "--unix-datagram", sockets / "log", "--mode", "666",
                              "--unix-allow", "root,4711", "--http", "127.0.0.1:0"},
                             3);
        send_as(0, stream, "from root\n");
        send_as(4711, stream, "from 4711\n");
        send_as(nobody, stream, "from nobody\n"); // who is let in by the mode, and sent away
        if (is_installed("logger")) {
            (void)shell(
                fmt::format("logger -u {} 'root says'; setpriv --reuid 65534 --clear-groups "
                            "logger -u {} 'nobody says'",
                            sockets / "log", sockets / "log"));
        }
        eventually([&] { return lines_in(at.log) >= 3; });
        std::string metrics;
        eventually([&] { // both that are sent away have been
            metrics = shell(fmt::format("curl -sS http://127.0.0.1:{}/metrics", at.ports.back()));
            return !has(metrics, "_users_refused_total 0\n") &&
                   !has(metrics, "_users_refused_total 1\n");
        });
        CHECK(at.stop().status == 0);
        const std::string text = contents_of(at.log);
        CHECK(has(text, " uid=0 gid=0] from root\n"));
        CHECK(has(text, " uid=4711 gid=0] from 4711\n"));
        CHECK(has(text, "] root says\n"));
        CHECK(!has(text, "nobody"));
        CHECK(has(metrics, "sapwood_collector_users_refused_total 2\n"));
    }

    TEST_CASE("listeners that are alike keep their lists of users when settings are read again") {
        const temporary_directory sockets;
        const std::vector<int> fds{bound(sockets / "one", SOCK_STREAM),
                                   bound(sockets / "two", SOCK_STREAM)};
        const int err = ::open((sockets / "err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        program::streams with = activation(fds, "lines:lines");
        with.err = err;
        daemon_under_test at({"--unix", "fd:lines", "--unix", "fd:lines", "--unix-allow",
                              std::to_string(::getuid() + 1)},
                             2, with);
        ::close(err);
        at.process->signal(SIGHUP);
        eventually([&] {
            return has(contents_of(sockets / "err"),
                       "the files that its options name were read again");
        });
        send_as(::getuid(), sockets / "one", "by one\n");
        send_as(::getuid(), sockets / "two", "by two\n");
        CHECK(at.stop().status == 0);
        CHECK(contents_of(at.log) == "");
        for (const int fd : fds) {
            ::close(fd);
        }
    }

    TEST_CASE("a socket that is of another kind than records come by is refused at the start") {
        const temporary_directory sockets;
        const auto said = [&](int fd) {
            const auto done =
                run_program("sapwood", {"serve", "--log", sockets / "app.log", "--udp", "fd:x"},
                            activation({fd}, "x"));
            ::close(fd);
            CHECK(done.status == 2);
            return done.err;
        };
        CHECK(has(said(bound(sockets / "packets", SOCK_SEQPACKET)),
                  "socket 3 (x) was passed on and is of no kind that records come by"));
        CHECK(has(said(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, 0)),
                  "socket 3 (x) was passed on and is of no kind that records come by"));
    }

    TEST_CASE("sockets that were there before it are listened on, by name and by place") {
        const temporary_directory sockets;
        int http_port = 0;
        int udp_port = 0;
        const std::vector<int> fds{
            bound_to_loopback(SOCK_STREAM, http_port), bound_to_loopback(SOCK_DGRAM, udp_port),
            bound(sockets / "lines", SOCK_STREAM), bound(sockets / "log", SOCK_DGRAM)};
        // Who came before it began waits, and is served.
        const int early = connected_to(sockets / "lines");
        REQUIRE(early >= 0);
        REQUIRE(::send(early, "early\n", 6, MSG_NOSIGNAL) == 6);
        ::shutdown(early, SHUT_WR);
        {
            daemon_under_test at({"--http", "fd:web", "--udp",
                                  fmt::format("127.0.0.1:{}", udp_port), "--unix", "fd:lines",
                                  "--unix-datagram", sockets / "log"},
                                 4, activation(fds, "web:sapwood.socket:lines:sapwood.socket"));
            if (is_installed("curl") && is_installed("logger")) {
                CHECK(shell(fmt::format("curl -sS -d '{{\"by\":\"http\"}}' http://127.0.0.1:{}/log",
                                        http_port)) == R"({"status":"1","result":"success"})");
                (void)shell(fmt::format("logger -n 127.0.0.1 -P {} -d 'by udp'; logger -u {} 'by "
                                        "datagram'",
                                        udp_port, sockets / "log"));
                eventually([&] { return lines_in(at.log) >= 4; });
            }
            CHECK(at.stop().status == 0);
            const std::string text = contents_of(at.log);
            CHECK(has(text, "] early\n"));
            CHECK(has(text, fmt::format("[unix pid={} uid={}", ::getpid(), ::getuid())));
            CHECK(has(text, "{\"by\":\"http\"}"));
            CHECK(has(text, "] by udp\n"));
            CHECK(has(text, "] by datagram\n"));
        }
        // They are their maker's: the paths stay, and the next one can have them.
        CHECK(::access((sockets / "lines").c_str(), F_OK) == 0);
        CHECK(::access((sockets / "log").c_str(), F_OK) == 0);
        const auto said = [&](std::vector<std::string> arguments, const std::string& names) {
            arguments.insert(arguments.begin(), {"serve", "--log", sockets / "app.log"});
            const auto done = run_program("sapwood", std::move(arguments), activation(fds, names));
            CHECK(done.status == 2);
            return done.err;
        };
        const std::string names = "web:udp:lines:log";
        CHECK(has(said({"--http", "fd:none"}, names), "no socket named none was passed on"));
        CHECK(has(said({"--http", "fd:udp"}, names), "named udp is for datagrams"));
        CHECK(has(said({"--http", "fd:web", "--unix", "fd:lines", "--udp", "fd:udp"}, names),
                  "a socket named log at unix:"));
        CHECK(has(
            run_program("sapwood", {"serve", "--log", sockets / "app.log", "--http", "fd:web"}).err,
            "no socket named web was passed on"));
        for (const int fd : fds) {
            ::close(fd);
        }
        ::close(early);
    }

    TEST_CASE("sockets of one name are told apart by what listens, in whichever order that is") {
        const temporary_directory sockets;
        const std::vector<int> fds{bound(sockets / "log", SOCK_DGRAM),
                                   bound(sockets / "lines", SOCK_STREAM)};
        const std::vector<std::string> stream{"--unix", "fd:sapwood"};
        const std::vector<std::string> datagram{"--unix-datagram", "fd:sapwood"};
        for (const bool is_stream_first : {false, true}) {
            CAPTURE(is_stream_first);
            std::vector<std::string> options = is_stream_first ? stream : datagram;
            const auto& more = is_stream_first ? datagram : stream;
            options.insert(options.end(), more.begin(), more.end());
            daemon_under_test at(options, 2, activation(fds, "sapwood:sapwood"));
            const std::string out = at.process->out_so_far();
            CHECK(has(out, "listening for lines on unix:" + (sockets / "lines\n")));
            CHECK(has(out, "listening for syslog datagrams on unix:" + (sockets / "log\n")));
            CHECK(at.stop().status == 0);
        }
        for (const int fd : fds) {
            ::close(fd);
        }
    }

    TEST_CASE("an inherited socket that others can reach is not listened on unguarded") {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in at{};
        at.sin_family = AF_INET;
        REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0);
        REQUIRE(::listen(fd, 1) == 0);
        const temporary_directory directory;
        const auto done =
            run_program("sapwood", {"serve", "--log", directory / "app.log", "--http", "fd:web"},
                        activation({fd}, "web"));
        CHECK(done.status == 2);
        CHECK(has(done.err, "is to be reached from other machines"));
        ::close(fd);
    }

    TEST_CASE("who sends more than his share is told when to come again") {
        if (!is_installed("curl")) {
            return;
        }
        const temporary_directory directory;
        const std::string tokens = directory / "tokens";
        fill(tokens, "ann the-first-secret rate=1 burst=1 bytes=100000\n");
        ::chmod(tokens.c_str(), 0600);
        daemon_under_test at({"--http", "127.0.0.1:0", "--tokens", tokens}, 1);
        const auto post = [&](const std::string& body) {
            return shell(fmt::format("curl -sS -i -H 'Authorization: Bearer the-first-secret' -d "
                                     "'{}' http://127.0.0.1:{}/log",
                                     body, at.ports[0]));
        };
        std::string records = "[{}";
        for (int i = 1; i < 100; ++i) {
            records += ",{}";
        }
        records += "]";
        CHECK(has(post(records), "HTTP/1.1 200 ")); // and nothing is left for the next 100 seconds
        for (const std::string& each : {"{}"s, records}) {
            const std::string refused = post(each);
            CHECK(has(refused, "HTTP/1.1 429 "));
            constexpr std::string_view after = "Retry-After: ";
            REQUIRE(has(refused, after));
            const int seconds = std::atoi(refused.c_str() + refused.find(after) + after.size());
            CHECK(seconds >= 85);
            CHECK(seconds <= 100);
        }
        CHECK(lines_in(at.log) == 100);
        CHECK(at.stop().status == 0);
    }

    TEST_CASE("told to end twice, it ends at once, and says what was left") {
        const temporary_directory sockets;
        daemon_under_test at(
            {"--unix", sockets / "lines", "--drain", "60", "--http", "127.0.0.1:0"}, 2);
        const int busy = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        to.sin_port = htons(static_cast<std::uint16_t>(at.ports.back()));
        REQUIRE(::connect(busy, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0);
        const std::string half =
            "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{";
        REQUIRE(::send(busy, half.data(), half.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(half.size()));
        // Another one is answered: so this one has been read.
        const std::string metrics =
            "curl -sS http://127.0.0.1:" + std::to_string(at.ports.back()) + "/metrics";
        eventually([&] { return has(shell(metrics), "sapwood_collector_connections 2\n"); });
        at.process->signal(SIGTERM);
        // It lets nobody in any more, and waits for who is in the middle.
        eventually([&] { return connected_to(sockets / "lines") < 0; });
        at.process->signal(SIGTERM);
        const auto done = at.process->wait();
        CHECK(done.status == 1);
        CHECK(has(done.err, "it was told to end twice: 1 connection was cut off, 0 records of app "
                            "are not in its file"));
        ::close(busy);
    }

    TEST_CASE(
        "SIGHUP while it brings what is under way to its end changes nothing, and it ends well") {
        const temporary_directory place;
        const int err = ::open((place / "err").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        program::streams with;
        with.err = err;
        daemon_under_test at(
            {"--unix", place / "lines", "--http", "unix:" + (place / "http"), "--drain", "60"}, 2,
            with);
        ::close(err);
        const int busy = connected_to(place / "http");
        REQUIRE(busy >= 0);
        const std::string half =
            "POST /log HTTP/1.1\r\nHost: localhost\r\nContent-Length: 7\r\n\r\n{";
        REQUIRE(::send(busy, half.data(), half.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(half.size()));
        // Another one, who came later, is served: so this one has been read.
        send_as(::getuid(), place / "http", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        at.process->signal(SIGTERM);
        eventually([&] { return connected_to(place / "lines") < 0; });
        at.process->signal(SIGHUP);
        eventually([&] {
            return has(contents_of(place / "err"),
                       "settings stay as they were: it is about to end\n");
        });
        REQUIRE(::send(busy, "\"n\":1}", 6, MSG_NOSIGNAL) == 6);
        char answer[512] = {};
        CHECK(::recv(busy, answer, sizeof(answer) - 1, 0) > 0);
        CHECK(has(answer, "HTTP/1.1 503 ")); // no new record is taken any more
        CHECK(has(answer, "Connection: close\r\n"));
        ::close(busy);
        CHECK(at.process->wait().status == 0);
    }

    TEST_CASE("settings that are read again for ever keep no signal from being heeded") {
        if (!has_tls()) {
            return;
        }
        openssl_authority ca;
        ca.issue("server");
        const temporary_directory sockets;
        daemon_under_test at({"--http", "127.0.0.1:0", "--unix", sockets / "lines", "--tls-cert",
                              ca.cert("server"), "--tls-key", ca.key("server")},
                             2);
        // A file that nobody goes on with, as a name service that does not answer.
        REQUIRE(::unlink(ca.cert("server").c_str()) == 0);
        REQUIRE(::mkfifo(ca.cert("server").c_str(), 0600) == 0);
        at.process->signal(SIGHUP);
        int writes = -1;
        eventually([&] { // once it is opened to be read
            writes = ::open(ca.cert("server").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
            return writes >= 0;
        });
        send_as(::getuid(), sockets / "lines", "before\n");
        eventually([&] { return lines_in(at.log) == 1; });
        std::filesystem::rename(at.log, at.log + ".1");
        at.process->signal(SIGHUP);
        send_as(::getuid(), sockets / "lines", "after\n");
        eventually([&] { return has(contents_of(at.log), "] after\n"); });
        const auto done = at.stop();
        CHECK(done.status == 0);
        CHECK(has(done.out, "2 records, "));
        ::close(writes);
    }

    TEST_CASE("a signal that comes as soon as it listens ends it well") {
        for (int i = 0; i < 5; ++i) {
            daemon_under_test at({"--http", "127.0.0.1:0"}, 1);
            CHECK(at.stop().status == 0);
        }
    }

    TEST_CASE("where nothing can be said on standard error, signals are heeded all the same") {
        for (const bool is_stuck : {false, true}) {
            int ends[2] = {-1, ::open("/dev/full", O_WRONLY | O_CLOEXEC)};
            if (is_stuck) { // whoever has the other end does not read
                ::close(ends[1]);
                REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
                const std::string much(4096, '.');
                while (::write(ends[1], much.data(), much.size()) > 0) {
                }
                ::fcntl(ends[1], F_SETFL, 0);
            }
            REQUIRE(ends[1] >= 0);
            program::streams with;
            with.err = ends[1];
            daemon_under_test at({"--http", "127.0.0.1:0"}, 1, with);
            ::close(ends[1]);
            at.process->signal(SIGHUP); // which it says something of
            CHECK(at.stop().status == 0);
            ::close(ends[0]);
        }
    }

    TEST_CASE("started without standard streams, it opens none of its files in their place") {
        program::streams with;
        with.prepare = [] {
            ::close(STDIN_FILENO);
            ::close(STDERR_FILENO);
        };
        daemon_under_test at({"--http", "127.0.0.1:0"}, 1, with);
        const auto stream = [&](int fd) {
            return std::filesystem::read_symlink(
                       fmt::format("/proc/{}/fd/{}", at.process->pid(), fd))
                .string();
        };
        CHECK(stream(STDIN_FILENO) == "/dev/null");
        CHECK(stream(STDERR_FILENO) == "/dev/null");
        CHECK(at.stop().status == 0);
    }

    TEST_CASE("told to end while it opens a log for long, it ends, and has changed nothing") {
        const temporary_directory directory;
        const std::string log = directory / "app.log";
        // As a machine that lost its power may leave it, of which every byte is looked at.
        constexpr std::uintmax_t bytes = std::uintmax_t{1} << 40;
        fill(log, "");
        std::error_code refused;
        std::filesystem::resize_file(log, bytes, refused);
        if (refused) {
            MESSAGE("skipped: no file here is as long as that");
            return;
        }
        program served("sapwood", {"serve", "--log", log, "--http", "127.0.0.1:0"});
        const std::string files = fmt::format("/proc/{}/fd", served.pid());
        eventually([&] {
            return std::ranges::any_of(std::filesystem::directory_iterator(files),
                                       [&](const auto& each) {
                                           std::error_code gone;
                                           return std::filesystem::read_symlink(each, gone) == log;
                                       });
        });
        served.signal(SIGTERM);
        const auto done = served.wait();
        CHECK(done.status == 0);
        CHECK(done.out == "");
        CHECK(has(done.err, "it was told to end before it had begun"));
        CHECK(std::filesystem::file_size(log) == bytes);
    }

    TEST_CASE("SIGHUP goes on in the file that has the log's name, at once") {
        const temporary_directory sockets;
        daemon_under_test at({"--unix", sockets / "lines"}, 1);
        send_as(::getuid(), sockets / "lines", "before\n");
        eventually([&] { return lines_in(at.log) == 1; });
        std::filesystem::rename(at.log, at.log + ".1");
        at.process->signal(SIGHUP);
        send_as(::getuid(), sockets / "lines", "after\n");
        eventually([&] { return has(contents_of(at.log), "] after\n"); });
        const auto done = at.stop();
        CHECK(done.status == 0);
        CHECK(has(contents_of(at.log + ".1"), "] before\n"));
        CHECK(!has(contents_of(at.log + ".1"), "] after\n"));
    }

    TEST_CASE("of the segments that are set aside only so many are kept") {
        if (!is_installed("curl")) {
            return;
        }
        for (const char* const durability : {"batch", "none"}) {
            CAPTURE(durability);
            const temporary_directory sockets;
            daemon_under_test at({"--unix", sockets / "lines", "--http", "127.0.0.1:0",
                                  "--segment-bytes", "1000", "--keep-segments", "2", "--durability",
                                  durability},
                                 2);
            for (int i = 0; i < 8; ++i) { // a write each, so seven are set aside
                const std::string line = fmt::format("{} {}\n", std::string(1500, 'x'), i);
                send_as(::getuid(), sockets / "lines", line);
                eventually([&] { return has(contents_of(at.log), line); });
            }
            const std::string metrics =
                fmt::format("curl -sS http://127.0.0.1:{}/metrics", at.ports[0]);
            eventually([&] {
                return has(shell(metrics), "sapwood_collector_log_segments_removed_total 5\n");
            });
            std::vector<std::string> left;
            for (const auto& each : std::filesystem::directory_iterator(at.directory / "")) {
                if (each.path().filename().string().starts_with("app.log.0")) {
                    left.push_back(contents_of(each.path()));
                }
            }
            REQUIRE(left.size() == 2);
            std::ranges::sort(left);
            CHECK(has(left[0], "x 5\n"));
            CHECK(has(left[1], "x 6\n"));
            CHECK(at.stop().status == 0);
        }
    }

    TEST_CASE("options and settings file know the same, and both say what is wrong") {
        const temporary_directory directory;
        const std::string settings = directory / "serve.toml";
        const std::string whole = fmt::format(
            "[[log]]\nname = 'app'\npath = '{0}/app.log'\nqueue_records = 100\n"
            "queue_bytes = 2000000\nsegment_bytes = 1000000\nkeep_segments = 3\nkeep_days = 0.5\n"
            "keep_bytes = 9000000\n"
            "[[listen]]\nkind = 'lines'\nat = '{0}/lines'\nmode = '666'\nallow = ['root', 1000]\n"
            "[[listen]]\nkind = 'http'\nat = 'fd:web'\n"
            "[limits]\nhandshake_seconds = 5\nbody_bytes = 1000\n",
            directory / "");
        const auto check = [&](const std::string& text) {
            fill(settings, text);
            return run_program("sapwood", {"serve", "--check", "--config", settings});
        };
        CHECK(check(whole).err == "");
        CHECK(check(whole).status == 0);
        const auto wrong = [&](const std::string& from, const std::string& to) {
            std::string text = whole;
            text.replace(text.find(from), from.size(), to);
            const auto done = check(text);
            CHECK(done.status == 2);
            return done.err;
        };
        CHECK(has(wrong("'root'", "'no such user'"), "there is no user no such user"));
        CHECK(has(wrong("'root'", "1.5"), "serve.toml:14: listen.allow: must be a list of names"));
        CHECK(has(wrong("'666'", "'600'"), "is for users whom its mode, 600, does not let in"));
        CHECK(has(wrong("segment_bytes = 1000000\n", ""), "there are none without segment_bytes"));
        CHECK(has(wrong("path", "preallocate_bytes = 100_000_000\npath"), "is 67108864 at most"));
        CHECK(
            has(wrong("path", "format = 'json'\npreallocate_bytes = 1000\npath"),
                "log app: preallocate_bytes is for logs that are synced and whose format is text"));
        CHECK(has(wrong("keep_days = 0.5", "keep_days = -1"), "keep_days is a number of days"));
        CHECK(has(wrong("at = 'fd:web'", "at = 'fd:web'\ntls = true"), "give it a certificate"));
        CHECK(has(wrong("[limits]", "[tls]\ncert = 'a'\n[limits]"),
                  sapwood::tls_context::is_built() ? "one of them is missing" : "without OpenSSL"));
        CHECK(has(wrong("[limits]", "[tls]\ncert = 'a'\nkey = 'b'\nclient = 'perhaps'\n[limits]"),
                  "serve.toml:21: tls.client: must be required or optional"));
        CHECK(has(wrong("[limits]", "[tls]\ncert = 'credential:a'\n[limits]"),
                  "$CREDENTIALS_DIRECTORY"));

        const auto said = [&](std::vector<std::string> arguments) {
            arguments.insert(arguments.begin(), {"serve", "--check", "--log", directory / "b.log"});
            return run_program("sapwood", std::move(arguments));
        };
        CHECK(said({"--unix",
                    directory / "lines",
                    "--mode",
                    "666",
                    "--unix-allow",
                    "root,1000",
                    "--queue-records",
                    "100",
                    "--queue-bytes",
                    "2000000",
                    "--segment-bytes",
                    "1000000",
                    "--preallocate-bytes",
                    "1000000",
                    "--keep-segments",
                    "3",
                    "--keep-days",
                    "0.5",
                    "--keep-bytes",
                    "9000000",
                    "--limit",
                    "handshake_seconds=5",
                    "--limit",
                    "body_bytes=1000",
                    "--http",
                    "fd:web",
                    "--tcp-lines",
                    "127.0.0.1:0"})
                  .err == "");
        CHECK(has(said({"--http", "127.0.0.1:0", "--limit", "speed=1"}).err,
                  "speed is no name of a limit; there are: head_bytes"));
        CHECK(has(said({"--http", "127.0.0.1:0", "--limit", "body_bytes=0"}).err,
                  "--limit body_bytes: a whole number"));
        CHECK(has(said({"--http", "127.0.0.1:0", "--limit", "idle_seconds=x"}).err,
                  "--limit idle_seconds is a number of seconds, not x"));
        for (const std::string bad :
             {"head_bytes=4294967296", "body_bytes=4294967296",
              "decompressed_bytes=18446744073709551615", "line_bytes=67108864",
              "record_bytes=67108864", "connections=18446744073709551615"}) {
            CHECK(has(said({"--http", "127.0.0.1:0", "--limit", bad}).err,
                      fmt::format("--limit {}: a whole number, more than nothing and at most",
                                  bad.substr(0, bad.find('=')))));
        }
        for (const std::string limit :
             {"idle", "head", "body", "answer", "acknowledgement", "handshake"}) {
            CHECK(has(said({"--http", "127.0.0.1:0", "--limit", limit + "_seconds=0"}).err,
                      "_seconds must be more than nothing"));
        }
        for (const std::string drain : {"-5", "nan", "inf", "1e300", "x"}) {
            CHECK(has(said({"--http", "127.0.0.1:0", "--drain", drain}).err,
                      "--drain is a number of seconds, not " + drain));
        }
        CHECK(has(said({"--http", "fd:"}).err, "fd: is followed by the name of a socket"));
        CHECK(has(said({"--unix", directory / "s", "--unix-allow", "4294967295"}).err,
                  "--unix-allow: 4294967295 is no user"));
        CHECK(has(said({"--http", "127.0.0.1:0", "--log", "other=" + (directory / "./b.log")}).err,
                  "logs b and other both have the path"));
        fill(directory / "tokens", "ann 0123456789abcdef logs=b,bb\n");
        ::chmod((directory / "tokens").c_str(), 0600);
        CHECK(has(said({"--http", "127.0.0.1:0", "--tokens", directory / "tokens"}).err,
                  "the token of ann is for log bb, which there is not"));
        CHECK(has(wrong("'fd:web'", "'fd:'"),
                  "serve.toml:17: listen.at: fd: is followed by the name of a socket"));
        CHECK(has(wrong("body_bytes = 1000", "body_bytes = 4294967296"),
                  "serve.toml:20: limits.body_bytes: must be at most 4294967295"));
        CHECK(has(wrong("handshake_seconds = 5", "handshake_seconds = 0"),
                  "serve.toml:19: limits.handshake_seconds: must be more than nothing"));
        CHECK(has(said({"--http", "127.0.0.1:0", "--tls-client", "perhaps"}).err,
                  "--tls-client is required or optional"));
        CHECK(has(said({"--http", "127.0.0.1:0", "--tls-client", "optional"}).err,
                  "needs --tls-client-ca"));
    }
}
