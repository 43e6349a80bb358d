// demos/producer_consumer, from outside.
#include "support/program.hpp"

#include <doctest/doctest.h>
#include <sstream>
#include <string>
#include <sys/resource.h>
#include <vector>

namespace {

using sapwood::test::run_program;

/// What follows `head` in the lines that begin with it.
std::vector<std::string> after(const std::string& head, const std::string& text) {
    std::istringstream lines(text);
    std::vector<std::string> found;
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with(head)) {
            found.push_back(line.substr(head.size()));
        }
    }
    return found;
}

} // namespace

TEST_SUITE("producer_consumer") {

    TEST_CASE("every item is produced and consumed once, in order, and the program ends") {
        const auto ran = run_program("producer_consumer", {"--items", "7", "--delay-max", "4"});
        const std::vector<std::string> items{"1", "2", "3", "4", "5", "6", "7"};
        CHECK(ran.status == 0);
        CHECK(after("producing : ", ran.out) == items);
        CHECK(after("consuming : ", ran.out) == items);
        CHECK(ran.err.empty());
    }

    TEST_CASE("no item is consumed before it is produced, and a channel of one holds one") {
        const auto ran = run_program("producer_consumer",
                                     {"--items", "30", "--delay-max", "0", "--capacity", "1"});
        CHECK(ran.status == 0);
        int produced = 0;
        int consumed = 0;
        std::istringstream lines(ran.out);
        for (std::string line; std::getline(lines, line);) {
            (line.starts_with("producing") ? produced : consumed) += 1;
            CHECK(consumed <= produced);
            // Besides the one in the channel: one waits to be sent, one is with the consumer.
            CHECK(produced <= consumed + 3);
        }
        CHECK(consumed == 30);
    }

    TEST_CASE("without items there is nothing to print") {
        const auto ran = run_program("producer_consumer", {"--items", "0"});
        CHECK(ran.status == 0);
        CHECK(ran.out.empty());
    }

    TEST_CASE("output that is cut off in the middle is exit code 1 and says why") {
        const auto ran = run_program("producer_consumer", {"--items", "1000", "--delay-max", "0"},
                                     {.prepare = [] {
                                         const rlimit limit{1024, 1024};
                                         ::setrlimit(RLIMIT_FSIZE, &limit);
                                     }});
        CHECK(ran.status == 1);
        CHECK(ran.out.size() == 1024);
        CHECK(ran.err == "cannot write to standard output: File too large\n");
    }

    TEST_CASE("a bad argument is exit code 2 and named, --help is neither") {
        for (const std::vector<std::string>& arguments :
             {std::vector<std::string>{"--items", "many"},
              {"--items", "-1"},
              {"--capacity", "0"},
              {"--delay-max", "soon"},
              {"--seed"},
              {"--unknown"},
              {"stray"}}) {
            const auto ran = run_program("producer_consumer", arguments);
            CAPTURE(arguments[0]);
            CHECK(ran.status == 2);
            CHECK(ran.err.find(arguments[0]) != std::string::npos);
        }
        const auto helped = run_program("producer_consumer", {"--help"});
        CHECK(helped.status == 0);
        CHECK(helped.out.find("--delay-max") != std::string::npos);
        CHECK(helped.err.empty());
        CHECK(run_program("producer_consumer", {"--version"}).status == 0);
    }
}
