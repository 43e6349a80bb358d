// What all sources share: what is said to who runs the collector.
#include "support/unread_standard_error.hpp"

#include <collector/intake.hpp>

#include <doctest/doctest.h>
#include <string>

namespace {

using sapwood::collector::say;
using sapwood::test::unread_standard_error;

} // namespace

TEST_SUITE("intake") {
    TEST_CASE("what nobody takes on standard error is counted, and not waited for") {
        const unread_standard_error pipe;
        say("first");
        const std::string heard = pipe.read();
        pipe.fill();
        say("second");
        say("third");
        const std::string filling = pipe.read();
        say("fourth");
        const std::string more = pipe.read();
        CHECK(heard == "sapwood: first\n");
        CHECK(filling.find_first_not_of('.') == filling.npos);
        CHECK(more == "sapwood: 2 lines were left out here: nobody took them\nsapwood: fourth\n");
    }

    TEST_CASE("a line is no longer than a pipe that takes anything takes at once") {
        const unread_standard_error pipe;
        say(std::string(10'000, 'x'));
        const std::string heard = pipe.read();
        CHECK(heard.size() == 4096);
        CHECK(heard.ends_with("x\n"));
    }
}
