// demos/echo_client, from outside, talking to demos/echo_server.
#include "support/program.hpp"

#include <csignal>
#include <doctest/doctest.h>
#include <string>
#include <string_view>

namespace {

using namespace std::string_view_literals;
using sapwood::test::eventually;
using sapwood::test::program;
using sapwood::test::run_program;

std::size_t count_of(std::string_view what, std::string_view text) {
    std::size_t count = 0;
    for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1)) {
        ++count;
    }
    return count;
}

} // namespace

TEST_SUITE("echo_client") {

    TEST_CASE("both connections get every part back in upper case") {
        program server("echo_server", {"--port", "0"});
        std::string said;
        eventually([&] { return (said = server.out_so_far()).find('\n') != std::string::npos; });
        const auto port = said.substr(said.rfind(':') + 1, said.find('\n') - said.rfind(':') - 1);
        const auto ran = run_program("echo_client", {"--port", port});
        CHECK(ran.status == 0);
        CHECK(ran.err.empty());
        for (const auto answer : {"THIS IS THE MESSAGE. "sv, "IT WILL BE SENT "sv, "IN PARTS."sv}) {
            CHECK(count_of("received \"" + std::string(answer) + "\"", ran.out) == 2);
        }
        eventually([&] { return count_of(" has left\n", server.out_so_far()) == 2; });
        server.signal(SIGINT);
        CHECK(server.wait().status == 0);
    }

    TEST_CASE("a server that is not there is exit code 1, with the endpoint and the reason") {
        const auto ran = run_program("echo_client", {"--port", "1"});
        CHECK(ran.status == 1);
        CHECK(ran.err == "echo_client: cannot connect to 127.0.0.1:1: Connection refused\n");
    }

    TEST_CASE("a bad argument is exit code 2") {
        CHECK(run_program("echo_client", {"--port", "many"}).status == 2);
        CHECK(run_program("echo_client", {"--help"}).status == 0);
    }
}
