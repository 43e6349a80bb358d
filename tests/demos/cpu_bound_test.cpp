// demos/cpu_bound, from outside.
#include "support/program.hpp"

#include <doctest/doctest.h>
#include <sstream>
#include <string>

namespace {

using sapwood::test::run_program;

/// How many beats were counted by the run of `how`.
int beats_of(const std::string& out, const std::string& how) {
    std::istringstream lines(out.substr(out.find(how + ":")));
    std::string line;
    while (std::getline(lines, line)) {
        if (const auto at = line.find("rounds; "); at != std::string::npos) {
            return std::stoi(line.substr(at + 8));
        }
    }
    return -1;
}

} // namespace

TEST_SUITE("cpu_bound") {

    TEST_CASE("the heart beats beside the pool, and not while the loop starves, which is told") {
        // Long enough for a beat on a machine that is busy with other things.
        const auto beside = run_program("cpu_bound", {"pool", "callback", "--duration", "2500"});
        CHECK(beside.status == 0);
        CHECK(beside.err.empty());
        CHECK(beats_of(beside.out, "pool") > 0);
        CHECK(beats_of(beside.out, "callback") > 0);
        const auto alone = run_program("cpu_bound", {"thread", "starve", "--duration", "400"});
        CHECK(alone.status == 0);
        CHECK(alone.err.empty());
        CHECK(alone.out.find("thread: alone") != std::string::npos);
        CHECK(beats_of(alone.out, "starve") == 0);
        const auto told = alone.out.rfind("a task held the loop for ");
        CHECK(told != std::string::npos);
        CHECK(told > alone.out.find("starve:"));
    }

    TEST_CASE("a bad argument is exit code 2 and named, --help is neither") {
        for (const std::string argument : {"sleep", "--duration", "--unknown"}) {
            const auto ran = run_program("cpu_bound", {argument});
            CAPTURE(argument);
            CHECK(ran.status == 2);
            CHECK(ran.err.find(argument) != std::string::npos);
        }
        CHECK(run_program("cpu_bound", {"--help"}).status == 0);
        CHECK(run_program("cpu_bound", {"--version"}).status == 0);
    }
}
