// demos/echo_server, from outside.
#include "support/program.hpp"

#include <arpa/inet.h>
#include <array>
#include <csignal>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

using namespace std::string_view_literals;
using sapwood::test::eventually;
using sapwood::test::program;
using sapwood::test::run_program;

/// The port that the server says it has, once it says so.
std::uint16_t port_of(const program& server) {
    constexpr auto head = "starting up on 127.0.0.1:"sv;
    std::string said;
    eventually([&] {
        said = server.out_so_far();
        return said.starts_with(head) && said.find('\n') != std::string::npos;
    });
    return static_cast<std::uint16_t>(std::stoi(said.substr(head.size())));
}

class client {
  public:
    explicit client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        at.sin_port = htons(port);
        REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) == 0);
    }

    client(client&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

    client& operator=(client&&) = delete;

    ~client() { close(); }

    void close() {
        if (fd_ >= 0) {
            ::close(std::exchange(fd_, -1));
        }
    }

    void reset() {
        const linger at_once{.l_onoff = 1, .l_linger = 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        close();
    }

    void say(std::string_view text) const {
        REQUIRE(::send(fd_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    }

    std::string hear(std::size_t size) const {
        std::string text(size, ' ');
        const ssize_t got = ::recv(fd_, text.data(), size, MSG_WAITALL);
        text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
        return text;
    }

    [[nodiscard]] bool is_hung_up() const {
        char byte = 0;
        return ::recv(fd_, &byte, 1, 0) <= 0;
    }

  private:
    int fd_;
};

} // namespace

TEST_SUITE("echo_server") {

    TEST_CASE("every client gets its own messages back in upper case, in order") {
        program server("echo_server", {"--port", "0"});
        const auto port = port_of(server);
        std::vector<client> clients;
        for (int i = 0; i < 100; ++i) {
            clients.emplace_back(port);
        }
        for (int round = 0; round < 5; ++round) {
            for (std::size_t i = 0; i < clients.size(); ++i) {
                clients[i].say("message " + std::to_string(round * 1000 + static_cast<int>(i)));
            }
        }
        bool is_right = true;
        for (std::size_t i = 0; i < clients.size(); ++i) {
            std::string expected;
            for (int round = 0; round < 5; ++round) {
                expected += "MESSAGE " + std::to_string(round * 1000 + static_cast<int>(i));
            }
            is_right = is_right && clients[i].hear(expected.size()) == expected;
        }
        CHECK(is_right);
        server.signal(SIGINT);
        const auto ran = server.wait();
        CHECK(ran.status == 0);
        CHECK(clients.front().is_hung_up());
        CHECK(ran.out.ends_with("shut down\n"));
    }

    TEST_CASE("it tells who comes and who leaves, and a reset harms nobody else") {
        program server("echo_server", {"--port", "0"});
        const auto port = port_of(server);
        client stays(port);
        client leaves(port);
        client breaks(port);
        leaves.say("bye");
        CHECK(leaves.hear(3) == "BYE");
        leaves.close();
        breaks.say("x");
        CHECK(breaks.hear(1) == "X");
        breaks.reset();
        eventually([&] {
            const auto said = server.out_so_far();
            return said.find(" has left\n") != std::string::npos &&
                   said.find(" is lost: ") != std::string::npos;
        });
        CHECK(server.out_so_far().find("new connection from 127.0.0.1:") != std::string::npos);
        stays.say("still here \xc3\xa4");
        CHECK(stays.hear(13) == "STILL HERE \xc3\xa4");
        server.signal(SIGTERM);
        CHECK(server.wait().status == 0);
    }

    TEST_CASE("a port that is taken is exit code 1, with the endpoint and the reason") {
        program server("echo_server", {"--port", "0"});
        const auto port = port_of(server);
        const auto ran = run_program("echo_server", {"--port", std::to_string(port)});
        CHECK(ran.status == 1);
        CHECK(ran.err.find("cannot listen on 127.0.0.1:" + std::to_string(port)) !=
              std::string::npos);
        CHECK(ran.err.find("Address already in use") != std::string::npos);
    }

    TEST_CASE("a bad argument is exit code 2, --help is neither") {
        CHECK(run_program("echo_server", {"--port", "70000"}).status == 2);
        CHECK(run_program("echo_server", {"--unknown"}).status == 2);
        const auto helped = run_program("echo_server", {"--help"});
        CHECK(helped.status == 0);
        CHECK(helped.out.find("Ctrl-C") != std::string::npos);
        const auto nowhere = run_program("echo_server", {"--host", "nowhere"});
        CHECK(nowhere.status == 1);
        CHECK(nowhere.err.find("names are not resolved") != std::string::npos);
    }
}
