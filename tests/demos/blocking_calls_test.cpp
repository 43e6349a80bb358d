// demos/blocking_calls, from outside.
#include "support/program.hpp"

#include <doctest/doctest.h>
#include <string>

namespace {

using sapwood::test::run_program;

bool has(const std::string& out, const std::string& line) {
    return ("\n" + out).find("\n" + line + "\n") != std::string::npos;
}

} // namespace

TEST_SUITE("blocking_calls") {

    TEST_CASE("each way gives every result, and the pool bounds how many run at once") {
        const auto ran =
            run_program("blocking_calls", {"--calls", "5", "--threads", "3", "--duration", "1"});
        CHECK(ran.status == 0);
        CHECK(ran.err.empty());
        CAPTURE(ran.out);
        for (const std::string way : {"apply", "apply_async", "callback"}) {
            for (int number = 1; number <= 5; ++number) {
                CHECK(has(ran.out, way + ": " + std::to_string(number) + " squared is " +
                                       std::to_string(number * number)));
            }
        }
        CHECK(has(ran.out, "apply: 1 call at a time"));
        CHECK(has(ran.out, "apply_async: 5 calls made, none awaited yet"));
        CHECK(ran.out.find(" on 3 threads\n") != std::string::npos);
        CHECK(has(ran.out, "without a loop: 5 squared is 25"));
    }

    TEST_CASE("one thread is enough for all") {
        const auto ran = run_program("blocking_calls", {"--threads", "1", "--duration", "0"});
        CHECK(ran.status == 0);
        CHECK(has(ran.out, "apply_async: 1 calls at once on 1 threads"));
    }

    TEST_CASE("a bad argument is exit code 2 and named") {
        for (const std::string argument : {"sleep", "--threads", "--unknown"}) {
            const auto ran = run_program("blocking_calls", {argument});
            CAPTURE(argument);
            CHECK(ran.status == 2);
            CHECK(ran.err.find(argument) != std::string::npos);
        }
        CHECK(run_program("blocking_calls", {"--help"}).status == 0);
    }
}
