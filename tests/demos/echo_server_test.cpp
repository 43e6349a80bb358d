// demos/echo_server, from outside.
#include "support/echo_peer.hpp"
#include "support/program.hpp"

#include <csignal>
#include <doctest/doctest.h>
#include <string>
#include <vector>

namespace {

using sapwood::test::eventually;
using sapwood::test::port_of;
using sapwood::test::program;
using sapwood::test::run_program;
using client = sapwood::test::echo_peer;

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
