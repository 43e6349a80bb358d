// sapwood send by TLS, to a collector that lets nobody in without.
#include "support/program.hpp"
#include "support/sockets.hpp"
#include "support/temporary_directory.hpp"
#include "tools/authority.hpp"
#include "tools/serve_daemon.hpp"

#include <tls/tls_stream.hpp>

#include <sapwood/poll.hpp>
#include <sapwood/run.hpp>
#include <sapwood/tcp.hpp>
#include <sapwood/timeout.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using sapwood::task;
using sapwood::tls_context;
using sapwood::tls_stream;
using sapwood::test::contents_of;
using sapwood::test::daemon_under_test;
using sapwood::test::fill;
using sapwood::test::has;
using sapwood::test::has_tls;
using sapwood::test::lines_in;
using sapwood::test::openssl_authority;
using sapwood::test::run_program;
using sapwood::test::temporary_directory;
using strings = std::vector<std::string>;

strings operator+(strings all, const strings& more) {
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

/// Takes one connection by TLS, on a thread, answers 401 when the first bytes are there, and closes
/// it. It has room for little more than those.
class refusing_server {
  public:
    explicit refusing_server(const openssl_authority& ca) {
        const int room = 4096;
        const int segment = 536; // which makes the sender's own buffer small, too
        ::setsockopt(listener_.fd(), SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
        ::setsockopt(listener_.fd(), IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment));
        sapwood::tls_options options;
        options.certificate = ca.cert("server");
        options.key = ca.key("server");
        thread_ = std::thread([this, with = std::make_shared<const tls_context>(options)] {
            // Where nobody comes the test has failed, and ends.
            sapwood::run([&]() -> task<> {
                (void)co_await sapwood::as_result(
                    sapwood::timeout(std::chrono::seconds(30), refuse(with)));
            });
        });
    }

    refusing_server(const refusing_server&) = delete;
    refusing_server& operator=(const refusing_server&) = delete;

    ~refusing_server() { thread_.join(); }

    [[nodiscard]] std::string url() const {
        return fmt::format("https://{}", listener_.local_endpoint().to_string());
    }

  private:
    task<> refuse(std::shared_ptr<const tls_context> with) {
        auto socket = co_await listener_.accept();
        tls_stream peer(std::make_unique<sapwood::tcp_stream>(std::move(socket)), std::move(with),
                        sapwood::tls_use::http);
        co_await peer.handshake();
        (void)co_await peer.receive();
        co_await peer.write_all(
            std::string_view("HTTP/1.1 401 x\r\nContent-Length: 8\r\n\r\nno token"));
        co_await peer.close();
    }

    sapwood::tcp_listener listener_{sapwood::test::loopback()};
    std::thread thread_;
};

/// Takes one connection of lines by TLS, on a thread, and ends it in its own way.
class line_server {
  public:
    enum class ending : std::uint8_t {
        /// Reads to the end, and ends the connection.
        reads_all,
        /// Reads once, and resets the connection.
        resets,
        /// Reads nothing, and keeps the connection until the test is over.
        keeps,
    };

    line_server(const openssl_authority& ca, ending how) : how_(how) {
        if (how == ending::keeps) {
            const int room = 4096; // which small records fill
            ::setsockopt(listener_.fd(), SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
        }
        REQUIRE(::pipe2(over_, O_CLOEXEC) == 0);
        sapwood::tls_options options;
        options.certificate = ca.cert("server");
        options.key = ca.key("server");
        thread_ = std::thread([this, with = std::make_shared<const tls_context>(options)] {
            sapwood::run([&]() -> task<> {
                (void)co_await sapwood::as_result(
                    sapwood::timeout(std::chrono::seconds(30), serve(with)));
            });
        });
    }

    line_server(const line_server&) = delete;
    line_server& operator=(const line_server&) = delete;

    ~line_server() {
        ::close(over_[1]);
        thread_.join();
        ::close(over_[0]);
    }

    [[nodiscard]] std::string place() const { return listener_.local_endpoint().to_string(); }

    /// What was read, when the sender has ended.
    [[nodiscard]] std::size_t bytes_read() const noexcept { return bytes_read_; }

  private:
    task<> serve(std::shared_ptr<const tls_context> with) {
        auto socket = co_await listener_.accept();
        const int fd = socket.fd();
        tls_stream peer(std::make_unique<sapwood::tcp_stream>(std::move(socket)), std::move(with),
                        sapwood::tls_use::one_way);
        co_await peer.handshake();
        switch (how_) {
        case ending::reads_all:
            for (auto piece = co_await peer.receive(); !piece.text().empty();
                 piece = co_await peer.receive()) {
                bytes_read_ += piece.text().size();
            }
            co_await peer.close();
            break;
        case ending::resets: {
            (void)co_await peer.receive();
            const linger at_once{.l_onoff = 1, .l_linger = 0};
            ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
            break;
        }
        case ending::keeps:
            (void)co_await sapwood::poll(over_[0], POLLIN);
            break;
        }
    }

    const ending how_;
    sapwood::tcp_listener listener_{sapwood::test::loopback()};
    int over_[2] = {-1, -1};
    std::atomic<std::size_t> bytes_read_ = 0;
    std::thread thread_;
};

} // namespace

TEST_SUITE("send_tls") {
    TEST_CASE("batches reach a collector that wants TLS, certificates and tokens") {
        if (!has_tls()) {
            return;
        }
        openssl_authority ca;
        ca.issue("server");
        ca.issue("shop");
        const std::string tokens = ca.directory / "tokens";
        fill(tokens, "shop secret-of-a-1234\n");
        std::filesystem::permissions(tokens, std::filesystem::perms::owner_read);
        fill(ca.directory / "token", "secret-of-a-1234\n");
        daemon_under_test at({"--http", "127.0.0.1:0", "--tokens", tokens, "--tls-cert",
                              ca.cert("server"), "--tls-key", ca.key("server"), "--tls-client-ca",
                              ca.ca()},
                             1);
        const std::string url = fmt::format("https://localhost:{}", at.ports.at(0));
        const strings ours = {"--tls-ca",      ca.ca(),     "--tls-cert",
                              ca.cert("shop"), "--tls-key", ca.key("shop")};
        const strings token = {"--token-file", ca.directory / "token"};
        const auto send = [](const strings& options) {
            return run_program("sapwood", strings{"send", "--give-up-after", "5"} + options);
        };
        CHECK(send(strings{"--http", url, "-m", "by", "https"} + ours + token).err == "");
        std::string many;
        for (int i = 0; i < 20'000; ++i) {
            many += fmt::format("line {} of many\n", i);
        }
        fill(ca.directory / "many", many);
        CHECK(send(strings{"--http", url, ca.directory / "many"} + ours + token).err == "");
        // Who shows nothing is refused, also where that is known only when he has sent.
        const strings silent = {"--tls-ca", ca.ca()};
        const auto refused = send(strings{"--http", url, "-m", "forged"} + silent + token);
        CHECK(refused.status == 1);
        CHECK(has(refused.err, "it wants a certificate that it believes (--tls-cert, --tls-key)"));
        CHECK(send(strings{"--http", url, "-m", "forged"} + ours).status == 1);
        // Whom nobody has signed that we believe is sent nothing.
        const auto stranger =
            send(strings{"--http", url, "-m", "forged", "--tls-ca", ca.cert("shop")} + token);
        CHECK(stranger.status == 1);
        CHECK(has(stranger.err, "say who has signed its certificate (--tls-ca)"));
        CHECK(at.stop().status == 0);
        CHECK(lines_in(at.log) == 1 + 20'000);
        CHECK(!has(contents_of(at.log), "forged"));
        CHECK(has(contents_of(at.log), " cert=shop] {\"message\":\"by https\"}\n"));
    }

    TEST_CASE("lines reach a collector that wants TLS and certificates, batch after batch") {
        if (!has_tls()) {
            return;
        }
        openssl_authority ca;
        ca.issue("server");
        ca.issue("shop");
        daemon_under_test at({"--tcp-lines", "127.0.0.1:0", "--tls-cert", ca.cert("server"),
                              "--tls-key", ca.key("server"), "--tls-client-ca", ca.ca()},
                             1);
        const std::string place = fmt::format("localhost:{}", at.ports.at(0));
        const strings to = {"send", "--give-up-after", "5",    "--end-within", "30", "--tcp",
                            place,  "--tls-ca",        ca.ca()};
        const strings ours = {"--tls-cert", ca.cert("shop"), "--tls-key", ca.key("shop")};
        std::string many;
        for (int i = 0; i < 100'000; ++i) {
            many += fmt::format("line {} of many, which are a hundred batches\n", i);
        }
        fill(ca.directory / "many", many);
        const auto sent = run_program("sapwood", to + ours + strings{"-v", ca.directory / "many"});
        CHECK(sent.err == "sapwood send: 100000 records sent\n");
        CHECK(sent.status == 0);
        // Who speaks no TLS is reset, however little he says: an end would be a good one for him.
        for (const std::string line : {"x", "a line without TLS"}) {
            const auto plain = run_program(
                "sapwood", {"send", "--give-up-after", "5", "--tcp", place, "-m", line});
            CHECK(plain.status == 1);
            CHECK(has(plain.err, "is that a port for TLS?"));
            CHECK(has(plain.err, "up to 1 were not read"));
        }
        // Who shows nothing is refused, which under TLS 1.3 is known only when he has sent.
        const auto refused = run_program("sapwood", to + strings{"-m", "forged"});
        CHECK(refused.status == 1);
        CHECK(has(refused.err, "it wants a certificate that it believes (--tls-cert, --tls-key)"));
        CHECK(has(refused.err, "up to 1 were not read"));
        CHECK(at.stop().status == 0);
        CHECK(lines_in(at.log) == 100'000);
        CHECK(!has(contents_of(at.log), "forged"));
        CHECK(has(contents_of(at.log), " cert=shop] line 99999 of many"));
    }

    TEST_CASE("how the other side ends a connection of lines tells what of them it has read") {
        if (!has_tls()) {
            return;
        }
        using ending = line_server::ending;
        openssl_authority ca;
        ca.issue("server");
        std::string text;
        for (int i = 0; i < 80; ++i) {
            text += std::string(199, 'x') + "\n"; // one batch, which the sender's system takes
        }
        fill(ca.directory / "lines", text);
        const auto send_to = [&](const line_server& to, const std::string& end_within = "30") {
            return run_program("sapwood", {"send", "-v", "--tcp", to.place(), "--tls-ca", ca.ca(),
                                           "--give-up-after", "20", "--end-within", end_within,
                                           ca.directory / "lines"});
        };
        const line_server reading(ca, ending::reads_all);
        const auto read = send_to(reading);
        CHECK(read.status == 0);
        CHECK(read.err == "sapwood send: 80 records sent\n");
        CHECK(reading.bytes_read() == text.size());
        const line_server resetting(ca, ending::resets);
        const auto reset = send_to(resetting);
        CHECK(reset.status == 1);
        CHECK(has(reset.err, "of the records sent, up to 80 were not read, and may be lost\n"));
        // More than the loop of who does not read lends the kernel.
        std::string more;
        for (int i = 0; i < 32; ++i) {
            more += text;
        }
        fill(ca.directory / "lines", more);
        const line_server keeping(ca, ending::keeps);
        const auto kept = send_to(keeping, "2");
        CHECK(kept.status == 1);
        CHECK(has(kept.err, "the other side did not take everything within 2 seconds of the end: "
                            "of the records sent, up to 2560 were not read, and may be lost\n"));
    }

    TEST_CASE("an answer that comes before all is read is heard, though the connection breaks") {
        if (!has_tls()) {
            return;
        }
        openssl_authority ca;
        ca.issue("server");
        refusing_server to(ca);
        std::string many;
        for (int i = 0; i < 400; ++i) {
            many += std::string(1000, 'x') + "\n";
        }
        fill(ca.directory / "many", many); // more than one batch
        const auto refused =
            run_program("sapwood", {"send", "--http", to.url(), "--give-up-after", "5", "--tls-ca",
                                    ca.ca(), ca.directory / "many"});
        CHECK(refused.status == 1);
        CHECK(has(refused.err, "HTTP status 401: no token"));
        CHECK(!has(refused.err, "tries again"));
    }

    TEST_CASE("who speaks TLS to a port of lines without is told so at once, and leaves no line") {
        if (!has_tls()) {
            return;
        }
        daemon_under_test at({"--tcp-lines", "127.0.0.1:0"}, 1);
        const std::string place = fmt::format("127.0.0.1:{}", at.ports.at(0));
        for (const strings& to :
             {strings{"--tcp", place, "--tls"}, strings{"--http", "https://" + place}}) {
            const auto wrong = run_program("sapwood", strings{"send", "-m", "x"} + to);
            CHECK(wrong.status == 1);
            CHECK(has(wrong.err, "is that a port for TLS?"));
            CHECK(!has(wrong.err, "wrong version"));
            CHECK(!has(wrong.err, "tries again"));
        }
        CHECK(at.stop().status == 0);
        CHECK(lines_in(at.log) == 0);
    }

    TEST_CASE("a collector without TLS is told from one that is away, and options that do not fit "
              "are wrong") {
        if (!has_tls()) {
            return;
        }
        daemon_under_test at({"--http", "127.0.0.1:0"}, 1);
        const auto plain = run_program(
            "sapwood",
            {"send", "--http", fmt::format("https://127.0.0.1:{}", at.ports.at(0)), "-m", "x"});
        CHECK(plain.status == 1);
        CHECK(has(plain.err, "is that a port for TLS?"));
        CHECK(at.stop().status == 0);
        for (const strings& wrong :
             {strings{"--http", "http://localhost:1", "--tls-ca", "/nowhere"},
              strings{"--http", "https://localhost:1", "--tls-ca", "/nowhere"},
              strings{"--http", "https://localhost:1", "--tls-cert", "/nowhere"},
              strings{"--tcp", "localhost:1", "--tls-ca", "/nowhere"},
              strings{"--http", "https://localhost:1", "--tls"},
              strings{"--unix", "/nowhere", "--tls"},
              strings{"--unix", "/nowhere", "--tls-ca", "/nowhere"}}) {
            CHECK(run_program("sapwood", strings{"send", "-m", "x"} + wrong).status == 2);
        }
        const auto nowhere = run_program("sapwood", {"send", "-m", "x", "--tls-ca", "/nowhere"});
        CHECK(nowhere.status == 2);
        CHECK(has(nowhere.err, "say where to: "));
    }
}
