// sapwood send, from outside: what reaches the other side, how often, and what is said of the rest.
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <mutex>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

/// For who ends the connection: any process may be off the processor for seconds.
constexpr const char* end_within = "--end-within=30";

using namespace std::string_literals;
using sapwood::test::eventually;
using sapwood::test::fill;
using sapwood::test::program;
using sapwood::test::run_program;
using sapwood::test::temporary_directory;
using strings = std::vector<std::string>;

bool has(std::string_view text, std::string_view what) {
    return text.find(what) != text.npos;
}

/// Takes one connection after the other on a thread; `serve` has each, and closes nothing.
class server {
  public:
    explicit server(std::function<void(int)> serve, const std::string& path = "") {
        if (path.empty()) {
            sockaddr_in at{};
            at.sin_family = AF_INET;
            at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
            socklen_t size = sizeof(at);
            fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0);
            ::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size);
            place = fmt::format("127.0.0.1:{}", ntohs(at.sin_port));
        } else {
            sockaddr_un at{};
            at.sun_family = AF_UNIX;
            path.copy(at.sun_path, sizeof(at.sun_path) - 1);
            fd_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            REQUIRE(::bind(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0);
            place = path;
        }
        REQUIRE(::listen(fd_, 16) == 0);
        thread_ = std::thread([this, serve = std::move(serve)] {
            for (;;) {
                const int peer = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
                if (peer < 0) {
                    return;
                }
                serve(peer);
                ::close(peer);
            }
        });
    }

    server(const server&) = delete;
    server& operator=(const server&) = delete;

    ~server() {
        ::shutdown(fd_, SHUT_RDWR);
        thread_.join();
        ::close(fd_);
    }

    std::string place;

  private:
    int fd_ = -1;
    std::thread thread_;
};

/// What came, for the test's own thread.
class collected {
  public:
    void add(std::string item) {
        const std::lock_guard lock(mutex_);
        items_.push_back(std::move(item));
    }

    [[nodiscard]] strings all() const {
        const std::lock_guard lock(mutex_);
        return items_;
    }

    [[nodiscard]] std::string text() const {
        std::string text;
        for (const std::string& each : all()) {
            text += each;
        }
        return text;
    }

  private:
    mutable std::mutex mutex_;
    strings items_;
};

/// Reads requests from a connection: head and body of each, until it ends. False where `take` does
/// not want to go on.
bool read_requests(
    int peer, const std::function<bool(const std::string& head, const std::string& body)>& take) {
    std::string text;
    char piece[65536];
    for (;;) {
        const std::size_t end = text.find("\r\n\r\n");
        if (end != text.npos) {
            constexpr std::string_view length = "Content-Length: ";
            const auto size = std::stoul(text.substr(text.find(length) + length.size()));
            if (text.size() >= end + 4 + size) {
                const std::string head = text.substr(0, end);
                const std::string body = text.substr(end + 4, size);
                text.erase(0, end + 4 + size);
                if (!take(head, body)) {
                    return false;
                }
                continue;
            }
        }
        const auto got = ::recv(peer, piece, sizeof(piece), 0);
        if (got <= 0) {
            return true;
        }
        text.append(piece, static_cast<std::size_t>(got));
    }
}

void put(int peer, std::string_view text) {
    CHECK(::send(peer, text.data(), text.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(text.size()));
}

std::string answer(int status, std::string_view fields = "", std::string_view body = "{}") {
    return fmt::format("HTTP/1.1 {} x\r\n{}Content-Length: {}\r\n\r\n{}", status, fields,
                       body.size(), body);
}

/// A server that answers requests by what `reply` says of a body; an empty answer ends the
/// connection.
class http_server {
  public:
    explicit http_server(std::function<std::string(const std::string& body)> reply)
        : server_([this, reply = std::move(reply)](int peer) {
              read_requests(peer, [&](const std::string& head, const std::string& body) {
                  heads.add(head);
                  bodies.add(body);
                  const std::string text = reply(body);
                  if (!text.empty()) {
                      put(peer, text);
                  }
                  return !text.empty();
              });
          }) {}

    [[nodiscard]] std::string url() const { return "http://" + server_.place; }

    collected heads;
    collected bodies;

  private:
    server server_;
};

/// A pipe whose end is a program's input.
struct input_pipe {
    input_pipe() { REQUIRE(::pipe2(ends, O_CLOEXEC) == 0); }

    input_pipe(const input_pipe&) = delete;
    input_pipe& operator=(const input_pipe&) = delete;

    ~input_pipe() {
        ::close(ends[0]);
        end();
    }

    void write(std::string_view text) const {
        REQUIRE(::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }

    void end() {
        if (ends[1] >= 0) {
            ::close(std::exchange(ends[1], -1));
        }
    }

    int ends[2] = {-1, -1};
};

std::string message(std::string_view text) {
    return fmt::format("{{\"message\":\"{}\"}}\n", text);
}

} // namespace

TEST_SUITE("send") {
    TEST_CASE("lines go by HTTP as NDJSON, and what is acknowledged is said by the exit code") {
        http_server to([](const std::string&) { return answer(200); });
        const temporary_directory at;
        fill(at / "in", "one\n\ntwo \"quoted\" \\ \x01\r\n\xff\nthree");
        const auto done = run_program(
            "sapwood", {"send", "--http", to.url(), "--ack", "durable", "-v", at / "in"});
        CHECK(done.status == 0);
        CHECK(done.err == "sapwood send: 4 records acknowledged\n");
        CHECK(to.bodies.text() == message("one") + message(R"(two \"quoted\" \\ \u0001)") +
                                      "{\"message_escaped\":\"\\\\xff\"}\n" + message("three"));
        CHECK(to.heads.all().front().starts_with("POST /log?ack=durable HTTP/1.1\r\n"));
        CHECK(has(to.heads.all().front(), "Content-Type: application/x-ndjson"));
    }

    TEST_CASE("words of the command line are one record, with tag and level; a token is sent") {
        http_server to([](const std::string&) { return answer(202); });
        const temporary_directory at;
        fill(at / "token", "sesame\n");
        const auto done = run_program(
            "sapwood", {"send", "--http", to.url(), "--log", "billing", "--tag", "shop", "--level",
                        "warn", "--token-file", at / "token", "-m", "it", "is", "late"});
        CHECK(done.status == 0);
        CHECK(to.bodies.text() ==
              "{\"level\":\"warning\",\"tag\":\"shop\",\"message\":\"it is late\"}\n");
        CHECK(has(to.heads.text(), "POST /log/billing HTTP/1.1\r\n"));
        CHECK(has(to.heads.text(), "\r\nAuthorization: Bearer sesame\r\n"));
    }

    TEST_CASE("what is answered by 503 or 429, or not at all, is sent again, and that is told") {
        std::atomic<int> requests = 0;
        http_server to([&](const std::string&) {
            switch (requests++) {
            case 0:
                return answer(503, "Retry-After: 0\r\n", "full");
            case 1:
                return answer(429, "Retry-After: 0\r\nConnection: close\r\n");
            case 2:
                return ""s; // the connection is lost before its answer
            default:
                return answer(200);
            }
        });
        const temporary_directory at;
        fill(at / "in", "one\ntwo\n");
        const auto done = run_program("sapwood", {"send", "--http", to.url(), at / "in"});
        CHECK(done.status == 0);
        CHECK(to.bodies.all() == strings(4, message("one") + message("two")));
        CHECK(has(done.err, "HTTP status 503: full; tries again\n"));
        CHECK(has(done.err, "2 records were sent again, and may be there twice\n")); // each once
    }

    TEST_CASE("it waits for as long as Retry-After says") {
        std::atomic<int> requests = 0;
        std::atomic<std::int64_t> between = 0;
        std::chrono::steady_clock::time_point first;
        http_server to([&](const std::string&) {
            if (requests++ == 0) {
                first = std::chrono::steady_clock::now();
                return answer(503, "Retry-After: 1\r\n");
            }
            between = (std::chrono::steady_clock::now() - first).count();
            return answer(200);
        });
        CHECK(run_program("sapwood", {"send", "--http", to.url(), "-m", "x"}).status == 0);
        CHECK(between >= 1'000'000'000);
    }

    TEST_CASE("a record that is refused does not take its batch with it") {
        http_server to([](const std::string& body) {
            return has(body, "bad") ? answer(400, "", "a record is wrong") : answer(200);
        });
        const temporary_directory at;
        std::string text;
        for (int i = 1; i <= 20; ++i) {
            text += i == 7 || i == 13 ? "bad\n" : fmt::format("good {}\n", i);
        }
        fill(at / "in", text);
        const auto done = run_program("sapwood", {"send", "--http", to.url(), at / "in"});
        CHECK(done.status == 1);
        CHECK(has(done.err, "record 7 was refused: HTTP status 400: a record is wrong\n"));
        CHECK(has(done.err, "record 13 was refused"));
        CHECK(has(done.err, "2 of 20 records were not acknowledged"));
        std::string kept;
        for (const std::string& each : to.bodies.all()) {
            kept += has(each, "bad") ? "" : each;
        }
        for (int i = 1; i <= 20; ++i) {
            CHECK(has(kept, message(fmt::format("good {}", i))) == (i != 7 && i != 13));
        }
        CHECK(std::ranges::count(kept, '\n') == 18); // each once
    }

    TEST_CASE("where nothing will ever be taken it ends, and says why and how much") {
        http_server to([](const std::string&) { return answer(401, "", "no token"); });
        const auto done = run_program("sapwood", {"send", "--http", to.url(), "-m", "x"});
        CHECK(done.status == 1);
        CHECK(done.err ==
              "sapwood send: 1 of 1 record was not acknowledged: HTTP status 401: no token\n");
        CHECK(to.bodies.all().size() == 1);
        const temporary_directory at;
        const auto nobody = run_program(
            "sapwood", {"send", "--unix", at / "none", "-m", "x", "--give-up-after", "0.2"});
        CHECK(nobody.status == 1);
        CHECK(has(nobody.err, "1 of 1 record was not sent: "));
        CHECK(has(nobody.err, at / "none"));
        const auto refused = run_program(
            "sapwood", {"send", "--tcp", "127.0.0.1:1", "-m", "x", "--give-up-after", "0.1"});
        CHECK(has(refused.err, "1 of 1 record was not sent: cannot connect to 127.0.0.1:1 "
                               "(127.0.0.1:1: Connection refused)\n")); // said once
        const auto no_file =
            run_program("sapwood", {"send", "--unix", at / "none", at / "missing"});
        CHECK(no_file.status == 1);
        CHECK(has(no_file.err, at / "missing"));
    }

    TEST_CASE("a Unix socket for HTTP is a path, also one without a slash before it") {
        const temporary_directory at;
        strings heads;
        std::mutex guard;
        server to(
            [&](int peer) {
                read_requests(peer, [&](const std::string& head, const std::string&) {
                    const std::lock_guard lock(guard);
                    heads.push_back(head);
                    put(peer, answer(200));
                    return true;
                });
            },
            at / "http.sock");
        const std::string here = std::filesystem::current_path();
        const std::string folder = std::filesystem::path(at / "x").parent_path().filename();
        std::filesystem::current_path(at / "");
        for (const std::string& url : {"./http.sock"s, "unix:http.sock"s,
                                       "unix:" + at / "http.sock", "../" + folder + "/http.sock"}) {
            CAPTURE(url);
            CHECK(run_program("sapwood", {"send", "--http", url, "-m", "x"}).status == 0);
        }
        std::filesystem::current_path("..");
        CHECK(run_program("sapwood", {"send", "--http", folder + "/http.sock", "-m", "x"}).status ==
              0);
        std::filesystem::current_path(here);
        const std::lock_guard lock(guard);
        CHECK(heads.size() == 5);
    }

    TEST_CASE("a file of a token or a broker that is not there is told with the reason") {
        const temporary_directory at;
        for (const strings& words : {strings{"--http", "127.0.0.1:1", "--token-file"},
                                     strings{"--queue", "q", "--amqp"}}) {
            strings all{"send", "-m", "x"};
            all.insert(all.end(), words.begin(), words.end());
            all.push_back(at / "none");
            const auto done = run_program("sapwood", all);
            CHECK(done.status == 2);
            if (!has(done.err, "librabbitmq")) { // built without
                CHECK(has(done.err, words.back() + ": cannot open " + (at / "none") +
                                        ": No such file or directory\n"));
            }
        }
    }

    TEST_CASE("lines for a port of TLS, or of HTTP, are not taken for sent") {
        for (const auto& [said, what] :
             {std::pair{"\x15\x03\x03\x00\x02\x02\x46"s, "is that a port for TLS? say --tls"},
              std::pair{answer(400), "the other side speaks HTTP: say --http"}}) {
            CAPTURE(what);
            const std::string first = said;
            server to([first](int peer) {
                char piece[4096];
                (void)::recv(peer, piece, sizeof(piece), 0);
                put(peer, first);
                while (::recv(peer, piece, sizeof(piece), 0) > 0) {
                }
            });
            const auto done =
                run_program("sapwood", {"send", "--tcp", to.place, end_within, "-m", "a line"});
            CHECK(done.status == 1);
            CHECK(has(done.err, what));
            CHECK(has(done.err, "up to 1 were not read, and may be lost"));
        }
    }

    TEST_CASE("who is asked to wait for longer than it may tries once more before it gives up") {
        http_server to([](const std::string&) { return answer(503, "Retry-After: 100\r\n"); });
        constexpr std::string_view why = "1 of 1 record was not acknowledged: HTTP status 503";
        std::size_t requests = 0;
        bool is_answered = false;
        for (int i = 0; i < 10 && !is_answered; ++i) { // we may be later than it waits at its end
            const std::size_t before = to.bodies.all().size();
            const auto done = run_program(
                "sapwood", {"send", "--http", to.url(), "--give-up-after", "3", "-m", "x"});
            CHECK(done.status == 1);
            requests = to.bodies.all().size() - before;
            is_answered = has(done.err, why);
        }
        CHECK(is_answered);
        CHECK(requests == 2);
    }

    TEST_CASE(
        "answers in chunks, behind 100 Continue and to the end of the stream are understood") {
        std::atomic<int> requests = 0;
        http_server to([&](const std::string&) {
            switch (requests++) {
            case 0:
                return "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 x\r\nRetry-After: 0\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nno\r\n1\r\nt\r\n0\r\nA: b\r\n\r\n"s;
            case 1:
                return "HTTP/1.1 200 x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"s;
            case 2:
                return "SSH-2.0-x\r\n"s;
            default:
                return "HTTP/1.1 204 x\r\n\r\n"s;
            }
        });
        const auto done = run_program("sapwood", {"send", "--http", to.url(), "-m", "x"});
        CHECK(done.status == 0);
        CHECK(has(done.err, "HTTP status 503: not; tries again"));
        CHECK(to.bodies.all().size() == 4); // what is in doubt is no acknowledgement
    }

    TEST_CASE("a line goes at once while its program lives, and many go in few batches") {
        http_server to([](const std::string&) { return answer(200); });
        input_pipe in;
        program send("sapwood", {"send", "--http", to.url()}, {.in = in.ends[0]});
        in.write("one\n");
        eventually([&] { return to.bodies.text() == message("one"); });
        in.write("two\nthr");
        eventually([&] { return to.bodies.text() == message("one") + message("two"); });
        std::string many = "ee\n";
        for (int i = 0; i < 3000; ++i) {
            many += fmt::format("{}\n", i);
        }
        in.write(many);
        in.end();
        CHECK(send.wait().status == 0);
        CHECK(has(to.bodies.text(), message("two") + message("three") + message("0")));
        CHECK(to.bodies.text().ends_with(message("2999")));
        CHECK(std::ranges::count(to.bodies.text(), '\n') == 3003);
        CHECK(to.bodies.all().size() < 100);
    }

    TEST_CASE("a stream has lines as they are, and a peer that went away a new connection") {
        const temporary_directory at;
        collected pieces;
        std::atomic<int> connections = 0;
        std::atomic<bool> has_ended = false;
        server to(
            [&](int peer) {
                ++connections;
                char piece[4096];
                while (const auto got = ::recv(peer, piece, sizeof(piece), 0)) {
                    pieces.add({piece, static_cast<std::size_t>(got)});
                    if (connections == 1) {
                        ::shutdown(peer, SHUT_RDWR); // nothing that comes later is read over
                        has_ended = true;
                        return;
                    }
                }
            },
            at / "socket");
        input_pipe in;
        program send("sapwood", {"send", "--unix", at / "socket", end_within, "-v"},
                     {.in = in.ends[0]});
        in.write("one\n");
        eventually([&] { return pieces.text() == "one\n"; });
        eventually([&] { return has_ended.load(); });
        in.write("{\"n\":2}\n");
        eventually([&] { return connections == 2; });
        in.write("last\n");
        in.end();
        const auto done = send.wait();
        CHECK(done.status == 0);
        CHECK(has(done.err, "records sent\n")); // not "acknowledged": nobody said so
        CHECK(pieces.text().ends_with("{\"n\":2}\nlast\n"));
    }

    TEST_CASE("what a peer has not read when it goes away is told, and is no success") {
        const temporary_directory at;
        for (const std::string& path : {at / "socket", ""s}) {
            std::atomic<bool> may_close = false;
            std::atomic<int> connections = 0;
            collected pieces;
            server to(
                [&](int peer) {
                    if (++connections == 1) {
                        char byte = 0; // of two lines, the rest is never read
                        CHECK(::recv(peer, &byte, 1, 0) == 1);
                        eventually([&] { return may_close.load(); });
                        return;
                    }
                    char piece[4096];
                    while (const auto got = ::recv(peer, piece, sizeof(piece), 0)) {
                        pieces.add({piece, static_cast<std::size_t>(got)});
                    }
                },
                path);
            input_pipe in;
            program send("sapwood",
                         {"send", path.empty() ? "--tcp" : "--unix", to.place, end_within, "-v"},
                         {.in = in.ends[0]});
            in.write("one\ntwo\n");
            eventually([&] { return connections == 1; });
            may_close = true;
            // What is written before the close comes is lost as well, and counted.
            eventually([&] {
                in.write("more\n");
                return connections == 2;
            });
            in.end();
            const auto done = send.wait();
            CHECK(done.status == 1);
            CHECK(has(done.err, "a connection broke off: of the records sent, up to "));
            CHECK(has(done.err, " were not read, and may be lost\n"));
        }
    }

    TEST_CASE("who keeps the connection at its end is told from who has read everything") {
        const temporary_directory at;
        std::atomic<bool> may_end = false;
        std::atomic<bool> has_read = false;
        const auto stay = [&](int) { eventually([&] { return may_end.load(); }); };
        const auto read_and_stay = [&](int peer) {
            char piece[4096];
            while (::recv(peer, piece, sizeof(piece), 0) > 0) {
                has_read = true;
            }
            stay(peer);
        };
        const server unread(stay, at / "unread");
        const server all_read(read_and_stay, at / "read");
        const server far(stay);
        // Each waits for two seconds for the end.
        program to_unread("sapwood", {"send", "--unix", unread.place, "-m", "x"});
        input_pipe in;
        program to_read("sapwood", {"send", "--unix", all_read.place, "-v"}, {.in = in.ends[0]});
        program to_far("sapwood", {"send", "--tcp", far.place, "-v", "-m", "x"});
        in.write("x\n");
        eventually([&] { return has_read.load(); });
        in.end();
        const auto lost = to_unread.wait();
        CHECK(lost.status == 1);
        CHECK(lost.err == "sapwood send: the other side did not take everything within 2 seconds "
                          "of the end: of the records sent, up to 1 were not read, and may be "
                          "lost\n");
        const auto read = to_read.wait();
        CHECK(read.status == 0);
        CHECK(read.err == "sapwood send: 1 record sent\n");
        const auto unknown = to_far.wait();
        CHECK(unknown.status == 0);
        CHECK(unknown.err == "sapwood send: 1 record sent\nsapwood send: the other side's system "
                             "has everything; that its program has read it is not known, since it "
                             "did not end the connection within 2 seconds\n");
        may_end = true;
    }

    TEST_CASE("how long the other side may take to end the connection is an option") {
        const temporary_directory at;
        std::atomic<bool> may_end = false;
        const server unread([&](int) { eventually([&] { return may_end.load(); }); },
                            at / "unread");
        const auto lost = run_program(
            "sapwood", {"send", "--unix", unread.place, "--end-within", "0.25", "-m", "x"});
        CHECK(lost.status == 1);
        CHECK(has(lost.err, "did not take everything within 0.25 seconds of the end: "));
        may_end = true;
        for (const std::string wrong : {"0", "-1", "x"}) {
            CAPTURE(wrong);
            const auto said = run_program(
                "sapwood", {"send", "--unix", unread.place, "--end-within", wrong, "-m", "x"});
            CHECK(said.status == 2);
            CHECK(has(said.err, "--end-within: say "));
        }
        for (const strings& to : {strings{"--http", "http://127.0.0.1:1"},
                                  strings{"--queue", "q", "--amqp", "amqp://127.0.0.1:1"}}) {
            strings arguments{"send", "--end-within", "1", "-m", "x"};
            arguments.insert(arguments.end(), to.begin(), to.end());
            const auto said = run_program("sapwood", std::move(arguments));
            CHECK(said.status == 2);
            CHECK(has(said.err, "--end-within"));
        }
    }

    TEST_CASE("who neither reads nor answers is given up in time") {
        const temporary_directory at;
        std::atomic<bool> may_end = false;
        const auto hang = [&](int) { eventually([&] { return may_end.load(); }); };
        server lines(hang, at / "lines");
        server http(hang);
        fill(at / "in", std::string(4u << 20, 'x') + "\n");
        for (const strings& to : {strings{"--unix", lines.place}, strings{"--http", http.place}}) {
            const auto began = std::chrono::steady_clock::now();
            strings arguments{"send", "--give-up-after", "0.1", at / "in"};
            arguments.insert(arguments.end(), to.begin(), to.end());
            const auto done = run_program("sapwood", arguments);
            CHECK(done.status == 1);
            CHECK(has(done.err, " records were not "));
            CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(20));
        }
        may_end = true;
    }

    TEST_CASE("an answer's body is shown escaped, and a file that cannot be read costs no other") {
        http_server to([](const std::string& body) {
            return has(body, "bad") ? answer(400, "", "\x1b]0;title\x07") : answer(200);
        });
        const temporary_directory at;
        fill(at / "in", "bad\ngood\n");
        const auto done =
            run_program("sapwood", {"send", "--http", to.url(), at / "missing", at / "in"});
        CHECK(done.status == 1);
        CHECK(has(done.err, R"(HTTP status 400: \x1b]0;title\x07)"));
        CHECK(has(done.err, at / "missing"));
        CHECK(has(to.bodies.text(), message("good")));
    }

    TEST_CASE("tags and levels make JSON of a stream's lines, or syslog by octet counting") {
        collected pieces;
        server to([&](int peer) {
            char piece[4096];
            while (const auto got = ::recv(peer, piece, sizeof(piece), 0)) {
                pieces.add({piece, static_cast<std::size_t>(got)});
            }
        });
        CHECK(run_program("sapwood",
                          {"send", "--tcp", to.place, end_within, "--tag", "a\"b", "-m", "x"})
                  .status == 0);
        CHECK(pieces.text() == "{\"tag\":\"a\\\"b\",\"message\":\"x\"}\n");
        CHECK(run_program("sapwood", {"send", "--tcp", to.place, end_within, "--syslog", "--tag",
                                      "shop", "--level", "error", "-m", "x\ny"})
                  .status == 0);
        const std::string sent = pieces.text().substr(pieces.text().find('\n') + 1);
        const std::size_t space = sent.find(' ');
        CHECK(std::stoul(sent) == sent.size() - space - 1);
        CHECK(sent.substr(space + 1).starts_with("<11>1 2"));
        CHECK(has(sent, " shop "));
        CHECK(sent.ends_with(" - - x\ny"));
    }

    TEST_CASE("Ctrl-C sends what was read, a line without its end as well") {
        http_server to([](const std::string&) { return answer(200); });
        input_pipe in;
        program send("sapwood", {"send", "--http", to.url()}, {.in = in.ends[0]});
        in.write("one\ntwo");
        eventually([&] { return to.bodies.text() == message("one"); });
        send.signal(SIGINT);
        const auto done = send.wait();
        CHECK(done.status == 0);
        CHECK(to.bodies.text() == message("one") + message("two"));
        CHECK(done.err == "sapwood send: interrupted; the rest of the input was not read\n");
    }

    TEST_CASE(
        "Ctrl-C where nothing is taken says how much was not, and a second one does so at once") {
        http_server to([](const std::string&) { return answer(503); });
        input_pipe in;
        program send("sapwood", {"send", "--http", to.url()}, {.in = in.ends[0]});
        in.write("one\ntwo\n");
        eventually([&] { return to.bodies.all().size() >= 2; });
        const auto began = std::chrono::steady_clock::now();
        send.signal(SIGINT);
        send.signal(SIGTERM);
        const auto done = send.wait();
        CHECK(done.status == 1);
        CHECK(has(done.err, "2 of 2 records were not acknowledged"));
        CHECK(std::chrono::steady_clock::now() - began < std::chrono::milliseconds(4800));
    }

    TEST_CASE("the collector has what was sent, whichever way it came") {
        if (!has(run_program("sapwood", {"--help"}).out, "  serve ")) {
            MESSAGE("skipped: built without serve");
            return;
        }
        const temporary_directory at;
        program collector("sapwood", {"serve", "--log", at / "app.log", "--http", at / "http",
                                      "--unix", at / "lines"});
        eventually([&] { return std::ranges::count(collector.out_so_far(), '\n') == 2; });
        CHECK(run_program("sapwood", {"send", "--http", at / "http", "--ack", "durable", "--tag",
                                      "shop", "--level", "error", "-m", "it", "is", "late"})
                  .status == 0);
        CHECK(run_program("sapwood", {"send", "--unix", at / "lines", end_within, "-m", "plain"})
                  .status == 0);
        CHECK(has(run_program("sapwood", {"tail", "--where", "tag=shop", at / "app.log"}).out,
                  "] it is late tag=shop\n"));
        CHECK(has(run_program("sapwood", {"tail", "-n", "1", at / "app.log"}).out, "] plain\n"));
        collector.signal(SIGTERM);
        CHECK(collector.wait().status == 0);
    }

    TEST_CASE("what is wrong with the command line is said, with what would be right") {
        const auto said = [](strings arguments) {
            arguments.insert(arguments.begin(), "send");
            const auto done = run_program("sapwood", std::move(arguments));
            CHECK(done.status == 2);
            return done.err;
        };
        CHECK(has(said({"-m", "x"}), "--unix PATH, --tcp HOST:PORT or --http URL"));
        CHECK(has(said({"--tcp", "host", "-m", "x"}), "'host' is no place: give HOST:PORT"));
        CHECK(has(said({"--http", "http://x", "--tls-ca", "/x", "-m", "x"}), "are for https://"));
        CHECK(has(said({"--unix", "/x", "--ack", "durable", "-m", "x"}), "--ack requires --http"));
        CHECK(has(said({"--unix", "/x", "--level", "loud", "-m", "x"}), "not 'loud'"));
        CHECK(has(said({"--unix", "/x", "--token-file", "/none", "-m", "x"}), "--token-file"));
        CHECK(has(said({"--unix", std::string(200, 'x'), "-m", "x"}), "107"));
        for (const std::string seconds : {"x", "-1", "", "1e300", "nan"}) {
            CHECK(has(said({"--unix", "/x", "--give-up-after", seconds, "-m", "x"}),
                      "--give-up-after: say a number of seconds, not '" + seconds + "'"));
        }
    }
}
