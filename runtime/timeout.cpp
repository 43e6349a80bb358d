#include <sapwood/fmt_library.hpp>
#include <sapwood/timeout.hpp>

#include <string>
#include <system_error>

namespace sapwood::detail {

namespace {

/// In the largest unit that tells it without a fraction.
std::string text_of(clock::duration span) {
    using namespace std::chrono;
    if (span % seconds(1) == clock::duration::zero()) {
        return fmt::format("{} s", duration_cast<seconds>(span).count());
    }
    if (span % milliseconds(1) == clock::duration::zero()) {
        return fmt::format("{} ms", duration_cast<milliseconds>(span).count());
    }
    return fmt::format("{} ns", nanoseconds(span).count());
}

} // namespace

void throw_timed_out(clock::duration at_most) {
    throw std::system_error(make_error_code(std::errc::timed_out),
                            "timeout of " + text_of(at_most));
}

void throw_past_deadline() {
    throw std::system_error(make_error_code(std::errc::timed_out), "timeout at a deadline");
}

} // namespace sapwood::detail
