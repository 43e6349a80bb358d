// demos/threads_queue, from outside.
#include "support/program.hpp"

#include <algorithm>
#include <doctest/doctest.h>
#include <sstream>
#include <string>
#include <vector>

namespace {

using sapwood::test::run_program;

struct totals {
    int queued = 0;
    int discarded = 0;
    int consumed = 0;
    int other = 0;
};

totals count(const std::string& out) {
    totals found;
    std::istringstream lines(out);
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("queued    : ")) {
            ++found.queued;
        } else if (line.starts_with("queued item ") && line.ends_with(" discarded!")) {
            ++found.discarded;
        } else if (line.starts_with("consuming : ")) {
            ++found.consumed;
        } else {
            ++found.other;
        }
    }
    return found;
}

} // namespace

TEST_SUITE("threads_queue") {

    TEST_CASE("in both models each item is consumed or discarded, and the program ends") {
        for (const std::string model : {"threads", "sapwood"}) {
            CAPTURE(model);
            const auto ran = run_program("threads_queue",
                                         {"--model", model, "--producers", "4", "--items", "5",
                                          "--put-timeout", "3", "--work", "5", "--capacity", "2"});
            CHECK(ran.status == 0);
            CHECK(ran.err.empty());
            const auto found = count(ran.out);
            CHECK(found.queued + found.discarded == 20);
            CHECK(found.consumed == found.queued);
            CHECK(found.discarded > 0);
            CHECK(ran.out.find("== " + model) == 0);
        }
    }

    TEST_CASE("with time enough nothing is discarded, and many threads tear no line") {
        for (const std::string model : {"threads", "sapwood"}) {
            CAPTURE(model);
            const auto ran = run_program(
                "threads_queue", {"--model", model, "--producers", "8", "--items", "500",
                                  "--put-timeout", "30000", "--work", "0", "--capacity", "10"});
            CHECK(ran.status == 0);
            const auto found = count(ran.out);
            CHECK(found.queued == 4000);
            CHECK(found.consumed == 4000);
            CHECK(found.discarded == 0);
        }
    }

    TEST_CASE("both models are shown one after the other by default") {
        const auto ran = run_program("threads_queue", {"--items", "1", "--work", "1"});
        CHECK(ran.status == 0);
        const auto threads = ran.out.find("== threads");
        const auto coroutines = ran.out.find("== sapwood");
        CHECK(threads != std::string::npos);
        CHECK(coroutines != std::string::npos);
        CHECK(threads < coroutines);
    }

    TEST_CASE("a bad argument is exit code 2 and named, --help is neither") {
        for (const std::vector<std::string>& arguments :
             {std::vector<std::string>{"--model", "processes"},
              {"--producers", "0"},
              {"--capacity", "none"},
              {"--unknown"}}) {
            const auto ran = run_program("threads_queue", arguments);
            CAPTURE(arguments[0]);
            CHECK(ran.status == 2);
            CHECK(ran.err.find(arguments[0]) != std::string::npos);
        }
        CHECK(run_program("threads_queue", {"--help"}).status == 0);
    }
}
