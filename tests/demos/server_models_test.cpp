// demos/server_models, from outside: what is true of one model is true of all.
#include "support/echo_peer.hpp"
#include "support/program.hpp"

#include <csignal>
#include <cstdlib>
#include <doctest/doctest.h>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

namespace {

using sapwood::test::eventually;
using sapwood::test::port_of;
using sapwood::test::program;
using sapwood::test::run_program;
using client = sapwood::test::echo_peer;

const std::vector<std::string> models{"process", "thread", "select", "poll", "epoll", "sapwood"};

std::vector<std::string> arguments_of(const std::string& model) {
    return {"--model", model, "--port", "0"};
}

bool says(const program& server, const std::string& text) {
    return server.out_so_far().find(text) != std::string::npos;
}

void limit_descriptors(rlim_t at_most) {
    const rlimit limit{.rlim_cur = at_most, .rlim_max = at_most};
    ::setrlimit(RLIMIT_NOFILE, &limit);
    // UBSan looks at an object's virtual table through a pipe, and finds fault with the object
    // where there is no descriptor for one: it may say so, and must not end the program.
    ::setenv("UBSAN_OPTIONS", "halt_on_error=0:print_stacktrace=0", 1);
}

std::string letters(std::size_t size) {
    std::string text(size, ' ');
    for (std::size_t i = 0; i < size; ++i) {
        text[i] = static_cast<char>('A' + i % 23);
    }
    return text;
}

} // namespace

TEST_SUITE("server_models") {

    TEST_CASE("in every model each of many clients gets its own answers, in order") {
        for (const auto& model : models) {
            CAPTURE(model);
            program server("server_models", arguments_of(model));
            const auto port = port_of(server);
            std::vector<client> clients;
            for (int i = 0; i < 30; ++i) {
                clients.emplace_back(port);
            }
            for (int round = 0; round < 4; ++round) {
                for (std::size_t i = 0; i < clients.size(); ++i) {
                    clients[i].say("message " + std::to_string(round * 1000 + static_cast<int>(i)));
                }
            }
            bool is_right = true;
            for (std::size_t i = 0; i < clients.size(); ++i) {
                std::string expected;
                for (int round = 0; round < 4; ++round) {
                    expected += "MESSAGE " + std::to_string(round * 1000 + static_cast<int>(i));
                }
                is_right = is_right && clients[i].hear(expected.size()) == expected;
            }
            CHECK(is_right);
            server.signal(SIGINT);
            const auto ran = server.wait();
            CHECK(ran.status == 0);
            CHECK(ran.out.ends_with("shut down\n"));
            CHECK(ran.err.empty());
            for (const auto& one : clients) {
                CHECK(one.is_hung_up());
            }
        }
    }

    TEST_CASE("in every model who has said all still gets all answers") {
        for (const auto& model : models) {
            CAPTURE(model);
            program server("server_models", arguments_of(model));
            const client talks(port_of(server));
            const std::string text = letters(200'000);
            std::string message = text;
            for (char& letter : message) {
                letter = static_cast<char>(letter - 'A' + 'a');
            }
            talks.say(message);
            talks.shutdown_write();
            CHECK(talks.hear(text.size()) == text);
            CHECK(talks.is_hung_up());
            eventually([&] { return says(server, " has left\n"); });
        }
    }

    TEST_CASE("in every model a reset is told and harms nobody else") {
        for (const auto& model : models) {
            CAPTURE(model);
            program server("server_models", arguments_of(model));
            const auto port = port_of(server);
            const client stays(port);
            client breaks(port);
            breaks.say("x");
            CHECK(breaks.hear(1) == "X");
            breaks.reset();
            eventually([&] { return says(server, " is lost: "); });
            stays.say("still here \xc3\xa4");
            CHECK(stays.hear(13) == "STILL HERE \xc3\xa4");
            server.signal(SIGTERM);
            CHECK(server.wait().status == 0);
        }
    }

    TEST_CASE("in every model who takes no answers is not read from, and holds up nobody") {
        constexpr std::size_t too_much = 256u << 20;
        const std::string text = letters(230'000);
        for (const auto& model : models) {
            CAPTURE(model);
            program server("server_models", arguments_of(model));
            const auto port = port_of(server);
            const client deaf(port);
            const client other(port);
            const std::size_t said = deaf.say_until_blocked(text, too_much);
            CHECK(said < too_much);
            other.say("hello");
            CHECK(other.hear(5) == "HELLO");
            bool is_right = true;
            for (std::size_t heard = 0; heard < said && is_right; heard += text.size()) {
                const std::string expected = text.substr(0, said - heard);
                is_right = deaf.hear(expected.size()) == expected;
            }
            CHECK(is_right);
        }
    }

    TEST_CASE("in every model without descriptors new clients wait, until there is one") {
        for (const auto& model : models) {
            if (model == "process") { // its children have the clients' descriptors, one each
                continue;
            }
            CAPTURE(model);
            program server("server_models", arguments_of(model),
                           {.prepare = [] { limit_descriptors(16); }});
            const auto port = port_of(server);
            std::vector<client> clients;
            for (int i = 0; i < 20; ++i) {
                clients.emplace_back(port);
            }
            clients.front().say("first");
            CHECK(clients.front().hear(5) == "FIRST");
            clients.back().say("last");
            eventually([&] { return says(server, "ulimit -n"); });
            for (std::size_t i = 0; i < 15; ++i) {
                clients[i].close();
            }
            CHECK(clients.back().hear(4) == "LAST");
        }
    }

    TEST_CASE("select tells its limit, and tells it to a client beyond") {
        const auto fill_up = [] {
            limit_descriptors(2048);
            for (int fd = STDERR_FILENO + 1; fd <= 1015; ++fd) {
                ::dup2(STDIN_FILENO, fd);
            }
        };
        program server("server_models", arguments_of("select"), {.prepare = fill_up});
        const auto port = port_of(server);
        eventually([&] {
            return says(server, "select watches descriptors below 1024: some 6 clients at once\n");
        });
        std::vector<client> clients; // one more
        for (int i = 0; i < 7; ++i) {
            clients.emplace_back(port);
        }
        const std::string told = clients.back().hear(1000);
        CHECK(told == "this server is full: select watches descriptors below 1024 only\n");
        CHECK(says(server, " is turned away: select watches descriptors below 1024 only\n"));
        for (std::size_t i = 0; i < 6; ++i) {
            clients[i].say("in");
            CHECK(clients[i].hear(2) == "IN");
        }
    }

    TEST_CASE("a server of processes that is killed leaves none behind") {
        program server("server_models", arguments_of("process"));
        const client talks(port_of(server));
        talks.say("x");
        CHECK(talks.hear(1) == "X");
        server.signal(SIGKILL);
        CHECK(talks.is_hung_up());
    }

    TEST_CASE(
        "in every model --quiet says only where it listens, and --unchanged changes nothing") {
        for (const auto& model : models) {
            CAPTURE(model);
            auto arguments = arguments_of(model);
            arguments.insert(arguments.end(), {"--quiet", "--unchanged"});
            program server("server_models", arguments);
            const auto port = port_of(server);
            {
                const client talks(port);
                talks.say("As it is");
                CHECK(talks.hear(8) == "As it is");
            }
            const client another(port);
            another.say("x");
            CHECK(another.hear(1) == "x");
            server.signal(SIGINT);
            const auto ran = server.wait();
            CHECK(ran.status == 0);
            CHECK(ran.out == "starting up on 127.0.0.1:" + std::to_string(port) + "\nshut down\n");
        }
    }

    TEST_CASE("in every model a port that is taken is exit code 1, and a bad argument is 2") {
        program server("server_models", arguments_of("poll"));
        const auto port = std::to_string(port_of(server));
        for (const auto& model : models) {
            CAPTURE(model);
            const auto taken = run_program("server_models", {"--model", model, "--port", port});
            CHECK(taken.status == 1);
            CHECK(taken.err.find("cannot listen on 127.0.0.1:" + port) != std::string::npos);
            CHECK(taken.err.find("Address already in use") != std::string::npos);
            const auto nowhere = run_program("server_models", {"--model", model, "--host", "here"});
            CHECK(nowhere.status == 1);
            CHECK(nowhere.err.find("names are not resolved") != std::string::npos);
        }
        CHECK(run_program("server_models", {"--model", "fibers"}).status == 2);
        CHECK(run_program("server_models", {"--help"}).status == 0);
    }
}
