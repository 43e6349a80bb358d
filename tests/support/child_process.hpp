// Test bodies that may end, or spoil, the process they run in: they run in a forked child. Call
// only while no other thread and no loop runs.
#pragma once

#include <doctest/doctest.h>
#include <functional>
#include <string>

namespace sapwood::test {

/// What `body` wrote to standard error before it aborted; where it did not abort, a line that says
/// how it ended instead:
///
///     CHECK(last_words([] { misuse(); }) == doctest::Contains("was awaited twice"));
[[nodiscard]] doctest::String last_words(const std::function<void()>& body);

/// What `body` returns when it runs in a child process; where it ends otherwise, how.
[[nodiscard]] doctest::String in_child(const std::function<std::string()>& body);

} // namespace sapwood::test
