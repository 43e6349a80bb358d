// What a log says to people on standard error, and how it names what was thrown at it. None of it
// asks for memory, which may be what is lacking. Any thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <string_view>
#include <utility>

namespace sapwood::detail {

/// A line; what is too long for one is cut.
template <class... Args>
void tell(fmt::format_string<Args...> format, Args&&... args) noexcept {
    char text[1024];
    std::size_t bytes = 0;
    try {
        bytes = fmt::format_to_n(text, sizeof(text), format, std::forward<Args>(args)...).size;
    } catch (...) { // as far as it came
    }
    std::fprintf(stderr, "sapwood: %.*s\n", static_cast<int>(std::min(bytes, sizeof(text))), text);
}

/// Why something failed, in words.
class failure_words {
  public:
    failure_words() = default;

    explicit failure_words(std::string_view why) noexcept { set(why); }

    /// Of the exception that is being handled.
    [[nodiscard]] static failure_words of_current() noexcept {
        try {
            throw;
        } catch (const std::exception& failure) {
            return failure_words(failure.what());
        } catch (...) {
            return failure_words("what was thrown is no std::exception");
        }
    }

    [[nodiscard]] std::string_view view() const noexcept { return {text_, bytes_}; }

  private:
    void set(std::string_view why) noexcept { bytes_ = why.copy(text_, sizeof(text_)); }

    char text_[256] = {};
    std::size_t bytes_ = 0;
};

} // namespace sapwood::detail
