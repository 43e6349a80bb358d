// How many exceptions are on their way in this thread, as std::uncaught_exceptions() says: without
// its calls, of which an action would make two. Any thread.
#pragma once

#include <exception>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace sapwood::detail {

#if defined(__GLIBCXX__)

/// What the C++ ABI for Itanium says that __cxa_get_globals() points to: the same for as long as
/// the thread lives.
struct exception_globals {
    void* caught;
    unsigned uncaught;
};

[[nodiscard, gnu::always_inline]] inline int exceptions_under_way() noexcept {
    [[gnu::tls_model("initial-exec")]] static constinit thread_local const exception_globals* here =
        nullptr;
    if (here == nullptr) [[unlikely]] {
        here = reinterpret_cast<const exception_globals*>(abi::__cxa_get_globals());
    }
    return static_cast<int>(here->uncaught);
}

#else

[[nodiscard]] inline int exceptions_under_way() noexcept {
    return std::uncaught_exceptions();
}

#endif

} // namespace sapwood::detail
