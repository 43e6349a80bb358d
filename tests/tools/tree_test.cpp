// sapwood tree, from outside: trees of actions, whatever their records stand in, and in which
// order.
#include "support/numbered_lines.hpp"
#include "support/program.hpp"
#include "support/temporary_directory.hpp"

#include <cstdlib>
#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <vector>

namespace {

using sapwood::test::contents_of;
using sapwood::test::program;
using sapwood::test::run_program;
using sapwood::test::temporary_directory;

program::outcome tree(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), "tree");
    return run_program("sapwood", std::move(arguments));
}

/// Inputs of this suite that were recorded.
std::string recorded(std::string_view name) {
    const char* const folder = std::getenv("SAPWOOD_TOOLS_INPUTS");
    REQUIRE_MESSAGE(folder != nullptr,
                    "SAPWOOD_TOOLS_INPUTS does not say where they are: run the tests with ./dev "
                    "test or meson test");
    return std::string(folder) + "/" + std::string(name);
}

} // namespace

TEST_SUITE("tree") {
    TEST_CASE("what eliot has written is shown as its own tool does") {
        const auto done = tree({recorded("eliot.log")});
        CHECK(done.status == 0);
        CHECK(done.out == contents_of(recorded("eliot.tree")));
        CHECK(done.err == "sapwood tree: 1 of 4 tasks is incomplete; each says what is missing\n");
    }
}
