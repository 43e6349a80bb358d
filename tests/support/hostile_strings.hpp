// Strings that somebody who wants to forge, break or hide log lines would send: what the tests of
// escaping go through, and what the fuzzers begin with.
#pragma once

#include <string>
#include <vector>

namespace sapwood::test {

[[nodiscard]] const std::vector<std::string>& hostile_strings();

} // namespace sapwood::test
