// function_name: what std::source_location says of the function that a co_await stands in, made fit
// for people. Any thread.
#pragma once

#include <string>

namespace sapwood::detail {

/// `n::f()` where gcc says `void n::f(n::f(int)::_ZN1n1fEi.Frame*)`, or `sapwood::task<>
/// n::f(int)`. Parameters are left out; what is not understood is left as it is.
[[nodiscard]] std::string function_name(const char* pretty);

} // namespace sapwood::detail
