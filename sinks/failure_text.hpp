// failure_text: what an exception is called, and what it says, for the record of an action that it
// has ended. Any thread.
#pragma once

#include <sapwood/log_action.hpp>

#include <exception>
#include <string>

namespace sapwood::detail {

/// A type's name as it stands in the source, of std::type_info's.
[[nodiscard]] std::string demangled(const char* name);

class failure_text {
  public:
    /// Of an exception that nobody knows.
    failure_text() noexcept : failure_text(nullptr) {}

    explicit failure_text(const std::exception_ptr& error) noexcept;

    /// Borrows the texts.
    [[nodiscard]] action_failure failure() const& noexcept {
        return {.outcome = outcome_, .exception = exception_, .reason = reason_};
    }

    action_failure failure() const&& = delete;

  private:
    void read(const std::exception_ptr& error);

    std::string exception_;
    std::string reason_;
    action_outcome outcome_ = action_outcome::failed;
};

} // namespace sapwood::detail
